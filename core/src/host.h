/* What this machine offers; see moonsand_host_facts(). */
#ifndef MS_HOST_H
#define MS_HOST_H

typedef enum ms_cgroup_mode {
    MS_CGROUP_NONE,
    MS_CGROUP_V1,
    MS_CGROUP_HYBRID, /* controllers in v1, an empty v2 tree beside them */
    MS_CGROUP_V2
} ms_cgroup_mode;
ms_cgroup_mode ms_host_cgroup_mode(void);

#endif

/* The paths that a container must not read, or not write: the host asks the engine for them, and
 * the agent looks at each from inside. Both are built from these lists. */
#ifndef MS_MASKED_H
#define MS_MASKED_H

/* What engines mask by themselves: Docker 20.10's list and what later ones added. */
#define MS_MASKED_DEFAULT                                                                          \
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",                 \
        "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",              \
        "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"

/* What tells a program about the machine and its neighbours, and that no interpreter reads.
 * /proc/meminfo, stat and cpuinfo stay: glibc, OpenBLAS and numpy read them. */
#define MS_MASKED_EXTENDED                                                                         \
    "/proc/buddyinfo", "/proc/cmdline", "/proc/config.gz", "/proc/consoles", "/proc/diskstats",    \
        "/proc/iomem", "/proc/ioports", "/proc/kallsyms", "/proc/key-users", "/proc/kmsg",         \
        "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/locks",                \
        "/proc/modules", "/proc/pagetypeinfo", "/proc/partitions", "/proc/pressure",               \
        "/proc/schedstat", "/proc/slabinfo", "/proc/softirqs", "/proc/swaps", "/proc/vmallocinfo", \
        "/proc/zoneinfo", "/sys/block", "/sys/bus", "/sys/class", "/sys/dev",                      \
        "/sys/devices/virtual/dmi", "/sys/hypervisor", "/sys/kernel/debug", "/sys/kernel/slab",    \
        "/sys/kernel/tracing", "/sys/module", "/sys/power"

#define MS_READONLY_PATHS "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"

#endif

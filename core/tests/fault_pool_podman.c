/* Each allocation of a run by a worker with a fork server fails in turn, on Podman. */
#include "fault_run.h"

int main(void)
{
    fault_run("a worker of podman's with a fork server", "MOONSAND_TEST_PODMAN", MOONSAND_MODE_FORK,
              1);
    return done_testing();
}

/* Each allocation of a run on Podman fails in turn, from connecting to closing. */
#include "fault_run.h"

int main(void)
{
    fault_run("podman", "MOONSAND_TEST_PODMAN", MOONSAND_MODE_CONTAINER, 0);
    return done_testing();
}

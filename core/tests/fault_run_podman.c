/* Each allocation of a run on Podman fails in turn, from connecting to closing. */
#include "fault_run.h"

int main(void)
{
    fault_run("podman", "MOONSAND_TEST_PODMAN");
    return done_testing();
}

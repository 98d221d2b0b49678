/* Each allocation of a run on Docker fails in turn, from connecting to closing. */
#include "fault_run.h"

int main(void)
{
    fault_run("docker", "MOONSAND_TEST_DOCKER", MOONSAND_MODE_CONTAINER, 0);
    return done_testing();
}

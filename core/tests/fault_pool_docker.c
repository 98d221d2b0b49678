/* Each allocation of a run by a worker with a fork server fails in turn, on Docker. */
#include "fault_run.h"

int main(void)
{
    fault_run("a worker of docker's with a fork server", "MOONSAND_TEST_DOCKER", MOONSAND_MODE_FORK,
              1);
    return done_testing();
}

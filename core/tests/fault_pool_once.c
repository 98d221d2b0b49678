/* Each allocation of a run by a worker that is used once fails in turn, as its successor is made.
 */
#include "fault_run.h"

int main(void)
{
    fault_run("a worker that is used once", "MOONSAND_TEST_DOCKER", MOONSAND_MODE_CONTAINER, 1);
    return done_testing();
}

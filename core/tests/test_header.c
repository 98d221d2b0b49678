/* The public header stands alone: nothing is included before it, and C++ accepts it (see the
 * build). Its options start in the state that the comments promise. */
#include "moonsand.h"

#include "tap.h"

int main(void)
{
    moonsand_engine_options engine = MOONSAND_ENGINE_OPTIONS_INIT;
    moonsand_request_options request = MOONSAND_REQUEST_OPTIONS_INIT;
    moonsand_sandbox_options sandbox = MOONSAND_SANDBOX_OPTIONS_INIT;
    moonsand_run_options run = MOONSAND_RUN_OPTIONS_INIT;
    is_int(engine.version, 1, "engine options have a version");
    is_int(request.version, 1, "request options, too");
    is_int(request.body_fd, -1, "no descriptor is sent by default");
    is_int(sandbox.version, 1, "sandbox options, too");
    is_int(sandbox.network, MOONSAND_NETWORK_NONE, "no network by default");
    ok(!sandbox.exec_tmp && !sandbox.bind_count, "no exception by default");
    moonsand_command_options command = MOONSAND_COMMAND_OPTIONS_INIT;
    is_int(command.version, 1, "command options, too");
    is_int(run.version, 1, "run options, too");
    is_int(run.stdin_mode, MOONSAND_STDIN_EMPTY, "no stdin by default");
    is_str(moonsand_code_name(MOONSAND_E_TIMEOUT), "timeout", "codes have names");
    is_str(moonsand_status_name(MOONSAND_S_OUTPUT_LIMIT), "output_limit", "statuses, too");
    ok(MOONSAND_S_TAMPERED < MOONSAND_S_LOST && MOONSAND_S_EXIT < MOONSAND_S_OK,
       "statuses stand in the order of precedence");
    moonsand_error_free(NULL);
    moonsand_run_free(NULL);
    moonsand_engine_close(NULL);
    moonsand_loop_free(NULL);
    return done_testing();
}

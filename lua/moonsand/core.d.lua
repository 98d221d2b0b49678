---@meta moonsand.core
--- The C module: checks arguments, calls the core, pushes results; decides nothing.
--- Users call `require "moonsand"` instead. `spec/core_defs_spec.lua` keeps this file true.
---
--- Misuse (wrong types, closed handles) raises. The world returns `nil, err`; err is a
--- `moonsand.Error`. Times are seconds (numbers), sizes bytes (integers).

---@class moonsand.Error
---@field code string one of "invalid nomem io no_engine connect timeout engine not_found conflict unsupported isolation protocol exec cancelled interrupted closed unreachable denied build"
---@field message string what happened and what to do about it
---@field op string? what was being done
---@field status integer? HTTP status of the engine's answer
---@field errno integer?
---@field cause moonsand.Error?

---@class moonsand.core
---@field version string
local core = {}

--- One per Lua state is enough; everything made from it must be closed before it.
---@return moonsand.core.Loop? loop, moonsand.Error? err
function core.loop() end

--- JSON text with facts of this machine.
---@return string? json, moonsand.Error? err
function core.host_facts() end

--- The value of the label moonsand.owner of containers that this process makes.
---@return string? label, moonsand.Error? err
function core.owner_label() end

--- Of the file system that the path is on: free_bytes (for others than root), total_bytes, free_inodes.
---@param path string
---@return { free_bytes: integer, total_bytes: integer, free_inodes: integer }? disk, moonsand.Error? err
function core.disk(path) end

---@param owner string label moonsand.owner
---@param lease integer label moonsand.lease, seconds since the epoch
---@return boolean
function core.owner_alive(owner, lease) end

---@param dir string?
---@param kind string? "docker", "podman" or nil
---@return string? socket, moonsand.Error? err
function core.embedded_start(dir, kind) end

---@param dir string?
---@return boolean? ok, moonsand.Error? err
function core.embedded_stop(dir) end

---@param dir string?
---@return string? json, moonsand.Error? err
function core.embedded_status(dir) end

--- CLOCK_MONOTONIC in seconds.
---@return number
function core.monotonic() end

---@param fd integer
---@return boolean
function core.isatty(fd) end

--- What a descriptor has, at most max bytes (65536); never blocks. "": nothing yet; nil: the end.
---@param fd integer
---@param max integer?
---@return string? bytes, moonsand.Error? err
function core.read(fd, max) end

--- Follows links. type is "file", "directory", "socket" or "other"; mode the permission bits.
---@param path string
---@return { type: string, mode: integer, size: integer, uid: integer, gid: integer }? facts, moonsand.Error? err
function core.stat(path) end

--- Files from memory and disk for one tar stream: request { body_pack = pack }.
---@return moonsand.core.Pack? pack, moonsand.Error? err
function core.pack() end

--- Reads a tar stream, not compressed. Paths and targets are as they stand there: hostile. More than the limits
--- (10000 entries, 64 MiB of files), and bytes that are no tar stream: err.code "protocol".
---@param bytes string
---@param limits { entries: integer?, bytes: integer? }?
---@return { path: string, type: "file"|"directory"|"symlink"|"hardlink"|"other", mode: integer, data: string?, target: string? }[]? list, moonsand.Error? err
function core.untar(bytes, limits) end

--- A file of lines that only grows. mode "read" takes no lock; "create" refuses a file with something in it; "continue"
--- makes it when there is none, and wants what is there to be read to its end before append(). sync: fdatasync() when
--- so many seconds passed since the last (1), and at the end. err.code "conflict": another one writes to it.
---@param path string
---@param options { mode: "read"|"create"|"continue", sync: number|"always"|"never"|nil }
---@return moonsand.core.Journal? journal, moonsand.Error? err
function core.journal(path, options) end

--- begin, and behind it those of the named members of t that are there, as JSON: keys are the names as they stand in
--- JSON, with their colon. nil when a value is not of the usual: a finite number, a boolean, or a text of at most max
--- printable ASCII characters without quotes, backslashes and needless blanks.
---@param begin string '{'
---@param t table<string, any>
---@param names string[]
---@param keys string[] '"name":'
---@param max integer
---@return string? json
function core.json_scalars(begin, t, names, keys, max) end

--- What Journal:record() makes of a line. nil, text: what is wrong with it.
---@param text string UTF-8
---@param shape table<string, string|table>?
---@return any value, boolean|string fit_or_why
function core.json_value(text, shape) end

--- 64 hexadecimal digits.
---@param bytes string
---@return string? hex, moonsand.Error? err
function core.sha256(bytes) end

--- With all directories that are missing above it; for this user only (0700).
---@param path string
---@return boolean? ok, moonsand.Error? err
function core.make_dirs(path) end

--- Makes the file when it is missing, and locks it (flock) until it is closed. false when somebody else has it; nil
--- for a link, and for what cannot be opened. Never waits.
---@param path string
---@return file*|false? file, moonsand.Error? err
function core.lock(path) end

--- SIGINT, SIGTERM and SIGHUP are counted from now on: the first two neither raise nor end the process, the third ends
--- it. false, or the end of this state: as before. Waiting in a loop still ends with err.code "interrupted". One that
--- was ignored stays so. Of the whole process.
---@param on boolean
function core.catch_signals(on) end

--- How many came since they are caught, and the last one: "INT", "TERM" or "HUP".
---@return integer count, string? name
function core.caught_signals() end

--- nil when it is no terminal, or one that does not tell.
---@param fd integer
---@return integer? columns, integer? rows
function core.terminal_size(fd) end

--- Makes a moonsand.Error (metatable, __tostring "code: message"), for the Lua layer.
---@param fields table code and message at least
---@return moonsand.Error
function core.error(fields) end

---@class moonsand.core.Loop
local Loop = {}
---@return integer fd poll it for reading, then call step()
function Loop:pollfd() end
--- "r", as cqueues wants it.
---@return string
function Loop:events() end
--- Seconds until the next timer, 0 when there is news already, nil when there is none.
---@return number?
function Loop:timeout() end
--- Never blocks. Returns the handles (Engine, Request, Run, Command) that have news since the last step.
---@return table? handles, moonsand.Error? err
function Loop:step() end
--- Sleeps until there is something to do; err.code "interrupted" after a signal such as Ctrl-C.
---@param seconds number? nil: for ever
---@return boolean? ok, moonsand.Error? err
function Loop:wait(seconds) end
---@param options { endpoint: string?, tls_dir: string?, call_timeout: number?, agent_path: string? }
---@return moonsand.core.Engine? engine, moonsand.Error? err
function Loop:engine(options) end
--- Starts a program of this machine: argv without a shell, env = { "NAME=value" } on top of ours, descriptors 0 to 2
--- only. max_output: bytes kept of each stream (1 MiB). err.code "not_found": there is no such program.
---@param options { argv: string[], env: string[]?, cwd: string?, stdin: string?, timeout: number?, max_output: integer?, stream_stdout: boolean?, stream_stderr: boolean? }
---@return moonsand.core.Command? command, moonsand.Error? err
function Loop:command(options) end
--- Closes all engines and commands of it, too; waits up to 3 s for programs to end. Also __gc and __close; safe twice.
function Loop:close() end

---@class moonsand.core.Engine
local Engine = {}
--- "connecting", "ready", "failed" or "closed"; err when failed.
---@return string state, moonsand.Error? err
function Engine:state() end
--- Fields of moonsand_engine_facts, nil until ready; components is JSON text.
---@return table?
function Engine:facts() end
--- Removals that still go on.
---@return integer
function Engine:pending() end
--- At most one of body, body_file, body_pack (measured) and body_stream (write() follows). headers: further
--- ones, name -> value. out_file: the body of a 2xx answer becomes that file, or nothing is left. progress: news
--- when something was sent or received.
---@param options { method: string, path: string, body: string?, body_file: string?, body_pack: moonsand.core.Pack?, body_stream: boolean?, content_type: string?, headers: table<string, string>?, timeout: number?, stream: boolean?, out_file: string?, progress: boolean? }
---@return moonsand.core.Request? request, moonsand.Error? err
function Engine:request(options) end
--- Field names as in moonsand_sandbox_options, plain numbers (timeout_ns as timeout in seconds, nano_cpus as cpus);
--- network "none" or "bridge"; binds = { {source=, target=} }; mode "container" or "fork"; require "none", "landlock" or
--- "namespaces"; max_age in seconds; pool_events: pool_event() gives all of them, not only "ready", "failed", "fell_back".
---@param options table
---@return moonsand.core.Sandbox? sandbox, moonsand.Error? err
function Engine:sandbox(options) end
function Engine:close() end

---@class moonsand.core.Request
local Request = {}
---@return boolean
function Request:done() end
--- What came since the last call (only with stream = true), or nil. The engine waits when 1 MiB was not taken.
---@return string?
function Request:take() end
--- More of the body (only with body_stream = true). How many bytes were taken; 0: no room until the next news.
---@param bytes string
---@return integer
function Request:write(bytes) end
--- That was the whole body.
function Request:write_end() end
--- Bytes of body_file or body_pack that were handed to the connection (only with progress = true).
---@return integer
function Request:sent() end
--- Bytes of the answer that are in out_file (only with progress = true).
---@return integer
function Request:received() end
--- After done(): HTTP status and body.
---@return integer? status, string|moonsand.Error body_or_err
function Request:result() end
--- Cancels if not done. Also __gc and __close; safe twice.
function Request:close() end

---@class moonsand.core.Pack
local Pack = {}
--- A file from memory. path: relative, without ".", ".." and empty parts, given once. mode: 420 (0644).
---@param path string
---@param bytes string
---@param mode integer?
---@return boolean? ok, moonsand.Error? err
function Pack:data(path, bytes, mode) end
--- A regular file of this machine, opened when it is read; a symbolic link is refused. mode: 0755 or 0644 as on disk.
---@param path string
---@param host_path string
---@param mode integer?
---@return boolean? ok, moonsand.Error? err
function Pack:file(path, host_path, mode) end
--- All below host_dir, at prefix ("": the root); ignore is the text of a .dockerignore, keep lists paths that it cannot
--- exclude. Symbolic links are sent as such. What is given by data() or file(), too, replaces what the tree has.
---@param prefix string
---@param host_dir string
---@param options { ignore: string?, keep: string[]? }?
---@return boolean? ok, moonsand.Error? err
function Pack:tree(prefix, host_dir, options) end
--- Reads everything once, about max_bytes a call (0 or nil: all); nil alone: call again. sha256 is over path, type, mode,
--- target and content of each entry; bytes is the size of the tar stream; escaping a link that climbs out of the
--- archive (Podman refuses those).
---@param max_bytes integer?
---@return { sha256: string, bytes: integer, files: integer, excluded: integer, escaping: string? }? facts, moonsand.Error? err
function Pack:measure(max_bytes) end
--- Bytes of the tar stream that measuring has seen so far.
---@return integer
function Pack:seen() end
--- Requests that still send it go on. Also __gc and __close; safe twice.
function Pack:close() end

---@class moonsand.core.Journal
local Journal = {}
--- The next whole line without its end; nil alone at the end, where a reader may ask again. err.code "protocol": NUL
--- bytes, no UTF-8, more than 16 MiB.
---@return string? line, moonsand.Error? err
function Journal:next() end
--- As next(), and what the line says as JSON: numbers exact and of their type (3, 3.0), null in a list as json.null and
--- no member of a table. err.code "protocol" also for what is not JSON, or nested deeper than 32. Whether a value is fit
--- follows it: it is simple, an object of scalars and objects of scalars, few of them, whose names and texts are plain
--- ASCII and have at most 64 bytes, so that nothing in it has to be made harmless; and it is of the shape.
---
--- shape: what each member of the object has to be, and there are no others: "count" (an integer from 0 to 2^53),
--- "positive" (one from 1 to 2^40), "number", "text", "true", "scalars" (an object), or a table whose keys it may be. With
--- a shape, a trial that begins, in a line as sweep/line.lua writes them, is an integer, its number, followed by the line,
--- whose json_value() is fit. Nothing is made of it, as nearly all such lines are followed by one that says all of it again.
---@param shape table<string, string|table>?
---@return any value, boolean|string|moonsand.Error|nil fit_or_line_or_err
function Journal:record(shape) end
--- The error for the line that was read last: "FILE: line 3 (byte 120) WHAT", and the way out.
---@param what string
---@return nil, moonsand.Error err
function Journal:damaged(what) end
--- One record: UTF-8 without line ends. When it fails nothing of it stays in the file, and the next may succeed; only
--- when it could not be synced it stays. A torn line behind the last whole one is cut off first.
---@param line string
---@return boolean? ok, moonsand.Error? err
function Journal:append(line) end
--- lines: read and written so far; line_at: where the last one read begins; bytes: of whole lines, as far as it was read
--- and written; torn: what follows them, known at the end.
---@return { lines: integer, line_at: integer, bytes: integer, torn: integer }
function Journal:facts() end
--- Also __gc and __close; safe twice. err: what was written last may not outlive a power failure.
---@return boolean? ok, moonsand.Error? err
function Journal:close() end

---@class moonsand.core.Sandbox
local Sandbox = {}
---@param options { argv: string[], env: string[]?, files: { path: string, data: string, mode: integer? }[]?, stdin: string|boolean|nil, timeout: number?, trust_key: string?, stream_stdout: boolean?, stream_stderr: boolean?, reports: boolean? } stdin: text; true: write() follows
---@return moonsand.core.Run? run, moonsand.Error? err
function Sandbox:run(options) end
---@return boolean
function Sandbox:is_open() end
--- The next of what became of the pool's containers, nil: no more. At most 1024 are kept; missed: so many were lost
--- before this one.
---@return { type: string, container: string?, reason: string?, detail: string?, runs: integer, duration_s: number, error: moonsand.Error?, missed: integer? }? event
function Sandbox:pool_event() end
--- Fields of moonsand_pool_stats: mode "container" or "fork", tier "none", "landlock" or "namespaces", retired a table
--- reason -> count, hand_out and refill with count, p50_s, p99_s, max_s.
---@return table? stats, moonsand.Error? err
function Sandbox:pool_stats() end
---@param workers integer
---@return boolean? ok, moonsand.Error? err
function Sandbox:pool_resize(workers) end
function Sandbox:close() end

---@class moonsand.core.Run
local Run = {}
---@return boolean
function Run:done() end
---@return string phase
function Run:phase() end
--- Streamed output since the last call; nil where there is none.
---@return string? stdout, string? stderr
function Run:take() end
--- What the program has reported since the last call (only with reports = true): lines as it wrote them, hostile.
---@return string[]?
function Run:reports() end
--- After done(): the fields of moonsand_result (times in seconds as *_s; out as stdout, stdout_bytes,
--- stdout_truncated, likewise stderr; artefacts = { {path=, data=, mode=} }, rejected = { {path=, reason=} };
--- isolation is JSON text), or nil, err for what kept us from running it.
---@return table? result, moonsand.Error? err
function Run:result() end
--- Bytes of stdin; returns how many were taken (0: wait for news of this handle).
---@param data string
---@return integer? taken, moonsand.Error? err
function Run:write(data) end
function Run:close_stdin() end
--- The result still comes.
function Run:cancel() end
--- Writes the artefacts below dir.
---@param dir string
---@return boolean? ok, moonsand.Error? err
function Run:save(dir) end
--- Kills it when it is not done. Also __gc and __close; safe twice.
function Run:close() end

---@class moonsand.core.Command
local Command = {}
---@return boolean
function Command:done() end
--- Streamed output since the last call; nil where there is none. The program waits when 1 MiB was not taken.
---@return string? stdout, string? stderr
function Command:take() end
--- After done(). exit_code is -1 when a signal ended it, signal 0 when none did. err.code "timeout" or "cancelled" when it was ended by us.
---@return { exit_code: integer, signal: integer, stdout: string?, stdout_bytes: integer, stdout_truncated: boolean, stderr: string?, stderr_bytes: integer, stderr_truncated: boolean }? result, moonsand.Error? err
function Command:result() end
--- SIGTERM to its process group, SIGKILL after 2 s; the result still comes.
function Command:cancel() end
--- Ends it like cancel when it is not done; that goes on in the loop. Also __gc and __close; safe twice.
function Command:close() end

return core

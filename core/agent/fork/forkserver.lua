local file = assert(io.open("/proc/self/fd/5", "rb"))
-- The fork server's Lua; see forkserver.py, which is the same for Python. (An argument of lua -e must
-- not begin with a dash.)
local text = file:read("a")
file:close()
local names, script = {}, ""
for part in text:gmatch("(%Z*)\0") do
	names[#names + 1] = part
end
script = table.remove(names)
for _, name in ipairs(names) do
	if name ~= "" then
		require(name)
	end
end
if script ~= "" then
	assert(load(script, "=preload_script", "t"))()
end

local serve = assert(package.loadlib("/proc/self/fd/4", "moonsand_lua_serve"))
local take = assert(package.loadlib("/proc/self/fd/4", "moonsand_lua_take"))
local xpcall, traceback, stderr, exit = xpcall, debug.traceback, io.stderr, os.exit
local loadfile, load, tostring, unpack = loadfile, load, tostring, table.unpack
local getmetatable, type = getmetatable, type
local progname

local function message(e)
	if type(e) ~= "string" then
		local meta = getmetatable(e)
		if meta and meta.__tostring then
			return tostring(e)
		end
		e = "(error object is a " .. type(e) .. " value)"
	end
	-- Of the frames, only the program's own.
	local trace = traceback(e, 2)
	local cut = trace:find("\n\t%[C%]: in function 'xpcall'")
	return cut and trace:sub(1, cut - 1) .. "\n\t[C]: in ?" or trace
end

io.stdout:flush()
collectgarbage()
serve()

-- A copy from here on.
local argc, all = take()
local argv = {}
for part in all:gmatch("(%Z*)\0") do
	argv[#argv + 1] = part
	if #argv == argc then
		break
	end
end
progname = argv[1]
local chunk, problem, first
if argv[2] == "-e" then
	chunk, problem = load(argv[3], "=(command line)")
	first = 3
else
	chunk, problem = loadfile(argv[2])
	first = 2
end
arg = {}
for i = 1, argc do
	arg[i - first] = argv[i]
end
-- The seed that the server drew is every copy's.
local urandom = io.open("/dev/urandom", "rb")
if urandom and math.randomseed then
	math.randomseed(string.unpack("<i7I1", urandom:read(8)))
end
if urandom then
	urandom:close()
end

local good = false
if chunk then
	local params = first == 2 and { unpack(argv, 3, argc) } or {}
	good, problem = xpcall(chunk, message, unpack(params))
end
if not good then
	io.stdout:flush()
	stderr:write(progname, ": ", problem, "\n")
end
exit(good, true)

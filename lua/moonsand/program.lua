--- What is to be run: a file of this machine, a piece of code, or an argv; with what goes along.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local options = require "moonsand.options"

local M = {}

local interpreters = { py = "python3", sh = "sh", lua = "lua5.4" }
local languages = { python = "py", sh = "sh", lua = "lua" }
local params_file = ".moonsand-params.json"
local params_path = "/tmp/work/" .. params_file -- the working directory that the core gives a run

--- A path of this machine, for messages and for the core.
function M.check_path(path, level)
  if type(path) ~= "string" or path == "" then
    error(("a path is a text, got %s"):format(path == "" and "an empty one" or type(path)), level + 1)
  elseif path:find("\0", 1, true) then
    error(("the path %q holds a NUL byte"):format(path), level + 1)
  elseif not utf8.len(path) then
    error(("the path %q is not UTF-8"):format(path), level + 1)
  end
end

--- A regular file of this machine.
---@param path string
---@param what string for the message
---@return string? text, moonsand.Error? err
function M.read_file(path, what)
  local facts, err = core.stat(path)
  if not facts then
    return nil, err
  elseif facts.type == "directory" then
    return errors.fail("invalid", ("%s %s is a directory, not a file"):format(what, path))
  elseif facts.type ~= "file" then
    return errors.fail("invalid", ("%s %s is not a regular file"):format(what, path))
  end
  local f, why = io.open(path, "rb")
  if not f then
    return errors.fail("io", ("%s cannot be read: %s"):format(what, why))
  end
  local text
  text, why = f:read "a"
  f:close()
  if not text then
    return errors.fail("io", ("%s %s cannot be read: %s"):format(what, path, why))
  end
  return text
end

local check_path = M.check_path

--- The last part of a path.
function M.base_name(path)
  return path:match "([^/]+)/*$" or path
end

local base_name = M.base_name

--- Where a file goes inside, relative to a directory there (nil: the working directory).
function M.check_target(name, level, dir)
  if type(name) ~= "string" or name == "" or name:find("\0", 1, true) or not utf8.len(name) then
    error("a file's name inside is a text in UTF-8 without NUL bytes", level + 1)
  end
  if name:sub(1, 1) == "/" then
    error(("the file %q must be relative to %s"):format(name, dir or "the working directory"), level + 1)
  end
  for part in (name .. "/"):gmatch "([^/]*)/" do
    if part == "" or part == "." or part == ".." then
      error(("the file %q has an empty part, \".\" or \"..\" in its name"):format(name), level + 1)
    end
  end
  return name
end

local check_target = M.check_target

--- { ["data/a.csv"] = "host/path" or { data = "..." } }, or a list of host paths under their base names.
local function collect_files(given, level)
  local out = {}
  for name, value in pairs(given) do
    if math.type(name) == "integer" then
      check_path(value, level + 1)
      name = base_name(value)
    end
    check_target(name, level + 1)
    local data, mode
    if type(value) == "table" then
      for key in pairs(value) do
        if key ~= "data" and key ~= "mode" then
          error(("the file %q has no option '%s' (it has data, mode)"):format(name, tostring(key)), level + 1)
        end
      end
      data, mode = value.data, value.mode
      if type(data) ~= "string" then
        error(("the file %q needs a string 'data'"):format(name), level + 1)
      end
    else
      check_path(value, level + 1)
      local err
      data, err = M.read_file(value, "input file")
      if not data then
        return nil, err
      end
    end
    out[#out + 1] = { path = name, data = data, mode = mode }
  end
  table.sort(out, function(a, b)
    return a.path < b.path
  end)
  return out
end

local function collect_env(given, level)
  local out = {}
  for name, value in pairs(given) do
    if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" then
      error(("env: %s is not a variable's name"):format(tostring(name)), level + 1)
    end
    if type(value) ~= "string" and type(value) ~= "number" then
      error(("env: %s must be a string, got %s"):format(name, type(value)), level + 1)
    end
    value = tostring(value)
    if value:find("\0", 1, true) then
      error(("env: %s holds a NUL byte"):format(name), level + 1)
    end
    out[name] = value
  end
  return out
end

local function collect_words(name, given, level)
  local out = {}
  for i, word in ipairs(given) do
    if type(word) ~= "string" and type(word) ~= "number" then
      error(("%s[%d] must be a string, got %s"):format(name, i, type(word)), level + 1)
    end
    word = tostring(word)
    if word:find("\0", 1, true) then
      error(("%s[%d] holds a NUL byte"):format(name, i), level + 1)
    end
    out[i] = word
  end
  return out
end

--- "#!/usr/bin/env python3" -> { "python3" }; "#!/bin/sh -e" -> { "/bin/sh", "-e" }.
---@param text string
---@return string[]?
function M.shebang(text)
  local line = text:match "^#![ \t]*([^\r\n]+)"
  if not line then
    return nil
  end
  local program, argument = line:match "^(%S+)%s*(.-)%s*$"
  if program:match "/env$" and argument ~= "" then
    local words = {}
    for word in argument:gsub("^%-S%s+", ""):gmatch "%S+" do
      words[#words + 1] = word
    end
    return words
  end
  return argument ~= "" and { program, argument } or { program }
end

--- The words before the script's name, by its name or its first line.
local function interpreter(path, text, level)
  local extension = path:match "%.(%w+)$"
  local known = extension and interpreters[extension:lower()]
  if known then
    return { known }
  end
  local words = M.shebang(text)
  if not words then
    error(
      ("no interpreter is known for %q: name it .py, .sh or .lua, begin it with #!, or give argv"):format(path),
      level + 1
    )
  end
  return words
end

local function any_string(name, value, level)
  if type(value) ~= "string" then
    error(("option '%s' must be a string, got %s"):format(name, type(value)), level + 1)
  end
  return value
end

local function stdin(name, value, level)
  if type(value) ~= "string" and type(value) ~= "function" then
    error(("option '%s' is a string or a function, got %s"):format(name, type(value)), level + 1)
  end
  return value
end

local longest_key = 256 -- bytes, the core's limit

local function trust_key(name, value, level)
  options.text(name, value, level + 1)
  if #value > longest_key or value:find "%c" or not utf8.len(value) then
    error(("option '%s' is a text of at most %d bytes, in UTF-8 and without control characters; got %d bytes"):format(
      name, longest_key, #value), level + 1)
  end
  return value
end

--- Options of box:run and box:start.
M.schema = {
  script = any_string,
  code = any_string,
  argv = options.table,
  language = options.one_of { "python", "sh", "lua" },
  args = options.table,
  files = options.table,
  env = options.table,
  params = options.table,
  stdin = stdin,
  timeout = options.duration,
  trust_key = trust_key,
  on_stdout = options.func,
  on_stderr = options.func,
  on_report = options.func,
}

--- Raises for what makes no sense; nil, err for what cannot be read.
---@param script string|table path, or the options with argv, code or script in them
---@param given table?
---@param level integer whom to blame
---@param environment table<string, string>? of the sandbox; a variable of the caller's takes the place of one of these
---@return table? program for Sandbox:run of the core, plus on_stdout, on_stderr, on_report, stdin
---@return moonsand.Error? err
function M.build(script, given, level, environment)
  level = level + 1
  local all = {}
  for k, v in pairs(given or {}) do
    all[k] = v
  end
  if type(script) == "table" then
    for k, v in pairs(script) do
      all[k] = v
    end
  else
    check_path(script, level)
    all.script = script
  end
  local o = options.check("box:run", all, M.schema, level)
  local ways = (o.script and 1 or 0) + (o.code and 1 or 0) + (o.argv and 1 or 0)
  if ways ~= 1 then
    error("give exactly one of: a script's path, code, argv", level)
  end

  local files, err = collect_files(o.files or {}, level)
  if not files then
    return nil, err
  end
  local env = collect_env(o.env or {}, level)
  for name, value in pairs(environment or {}) do
    env[name] = env[name] or value
  end
  local argv
  if o.argv then
    argv = collect_words("argv", o.argv, level)
    if #argv == 0 then
      error("argv is empty; argv[1] is the program", level)
    end
  else
    local text, name = o.code, "main." .. languages[o.language or "python"]
    if o.script then
      check_path(o.script, level)
      name = base_name(o.script)
      text, err = M.read_file(o.script, "script")
      if not text then
        return nil, err
      end
      argv = o.language and { interpreters[languages[o.language]] } or interpreter(o.script, text, level)
    else
      argv = { interpreters[languages[o.language or "python"]] }
    end
    for _, file in ipairs(files) do
      if file.path == name then
        error(("the input file %q has the script's own name"):format(name), level)
      end
    end
    files[#files + 1] = { path = name, data = text }
    -- A name that begins with a dash would be an option to the interpreter.
    argv[#argv + 1] = name:sub(1, 1) == "-" and "./" .. name or name
  end
  for _, word in ipairs(collect_words("args", o.args or {}, level)) do
    argv[#argv + 1] = word
  end

  if argv[1]:match "python[%d.]*$" then
    env.PYTHONUNBUFFERED = env.PYTHONUNBUFFERED or "1"
    env.PYTHONDONTWRITEBYTECODE = env.PYTHONDONTWRITEBYTECODE or "1"
  end
  if o.params then
    local ok, text = pcall(json.encode, o.params)
    if not ok then
      error("params: " .. tostring(text), level)
    end
    files[#files + 1] = { path = params_file, data = text }
    env.MOONSAND_PARAMS = params_path
  end
  local list = {}
  for name, value in pairs(env) do
    list[#list + 1] = name .. "=" .. value
  end
  table.sort(list)
  return {
    argv = argv, env = list, files = files, stdin = o.stdin, timeout = o.timeout, trust_key = o.trust_key,
    on_stdout = o.on_stdout, on_stderr = o.on_stderr, on_report = o.on_report,
  }
end

return M

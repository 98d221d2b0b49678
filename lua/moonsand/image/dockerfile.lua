--- Dockerfiles: ours, written from a declaration, and what there is to know of a user's before it is built.
---
--- Every text that comes from a declaration arrives in the image byte for byte and never becomes an
--- instruction: programs are written in the JSON form, names of files stand in the context only, and the
--- rest is quoted. A line cannot hold a line end, so that comes as a build argument.
local declare = require "moonsand.image.declare"
local json = require "moonsand.json"

local M = {}

--- The build argument for the line ends in values.
M.newline = "MOONSAND_NL"
--- The build argument for the image that a part starts from.
M.from = "MOONSAND_FROM"

local max_line = 32768 -- bytes, of a line that may as well be two

--- A value in double quotes, as ENV, LABEL and WORKDIR take it.
---@param s string
---@return string
function M.quote(s)
  s = s:gsub('[\\"$]', "\\%0"):gsub("\n", "${" .. M.newline .. "}")
  return '"' .. s .. '"'
end

-- JSON with the characters that the builders still expand in it made plain.
local function copy_target(s)
  return json.encode((s:gsub("[\\\"'$]", "\\%0")))
end

local function run(script)
  return "RUN " .. json.encode { "/bin/sh", "-c", script }
end

--- Where a context has the certificates of a build, and where the step that runs apt finds them: /dev is no part of
--- any image.
M.ca = "moonsand/ca.pem"
local ca_mount = "/dev/moonsand-ca.pem"

-- What was installed is written down while apt still has its lists: name, version, architecture, hash.
local apt_script = [[
set -e
export DEBIAN_FRONTEND=noninteractive
list() { dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version} ${Architecture}\n' | sed -n 's/^ii *//p'; }
before=$(list)
set -- -q -o Acquire::Retries=2 -o Dpkg::Use-Pty=0
ca=
if [ -e MOONSAND_CA ]; then
  ca=$(mktemp) # what apt is told takes the place of the image's own list, and a mirror may be behind either
  cat /etc/ssl/certs/ca-certificates.crt MOONSAND_CA >"$ca" 2>/dev/null || cat MOONSAND_CA >"$ca"
  chmod 644 "$ca"
  set -- "$@" -o "Acquire::https::CAInfo=$ca"
fi
apt-get "$@" -o APT::Update::Error-Mode=any update
apt-get "$@" install -y --no-install-recommends -- %s
rm -f $ca
mkdir -p /usr/local/share/moonsand
list | while read -r name version arch; do
  if ! printf '%%s\n' "$before" | grep -qxF "$name $version $arch"; then
    sum=$(apt-cache show "$name:$arch=$version" 2>/dev/null || apt-cache show "$name=$version" 2>/dev/null || true)
    sum=$(printf '%%s\n' "$sum" | sed -n 's/^SHA256: //p' | head -n 1)
    printf '%%s %%s %%s %%s\n' "$name" "$version" "$arch" "$sum"
  fi
done >/usr/local/share/moonsand/apt.lock
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
  /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/cache/ldconfig/aux-cache
]]
apt_script = apt_script:gsub("MOONSAND_CA", ca_mount)

-- What pip would have uninstalled: files of the base's version of a package that is installed anew.
local replaced_script = [[
cd /usr/local/share/moonsand || exit 1
while IFS= read -r f; do rm -f -- "$f"; done <replaced
rm -f replaced]]

-- One instruction for all: each costs a step of the classic builder.
local function pairs_line(out, word, list, name, value)
  local line = { word }
  for _, pair in ipairs(list or {}) do
    line[#line + 1] = name(pair[1]) .. "=" .. value(pair[2])
    if #line > 1 and #table.concat(line, " ") > max_line then
      local last = table.remove(line)
      out[#out + 1] = table.concat(line, " ")
      line = { word, last }
    end
  end
  if #line > 1 then
    out[#out + 1] = table.concat(line, " ")
  end
end

local function append(out, lines)
  for _, line in ipairs(lines) do
    out[#out + 1] = line
  end
end

local function text(...)
  local out = {}
  for _, lines in ipairs { ... } do
    append(out, lines)
  end
  return table.concat(out, "\n") .. "\n"
end

---@class moonsand.WrittenDockerfile
---@field text string
---@field packages string?
---@field tree string?
---@field apt string? the instruction in tree that runs apt
---@field extended string?
---@field final string
---@field args table<string, string> build arguments that text and final need

--- Writes a declaration's Dockerfile.
---
--- text is all of it, for people, for the hash, and for any builder. We send it in parts, so that the parts
--- can be kept and found again: packages (where Python packages are made ready), tree (the base with Debian and
--- Python packages), extended (the same from an earlier tree that only lacks some), final (the rest). In those, what
--- each starts from is a build argument, and the source of COPY --from=packages is set by part(). packages and
--- extended are nil when there are no Python packages, tree when there are no packages at all.
---@param o moonsand.Declaration of kind "packages"
---@param base { ref: string, user: string? } user: the one in the base's configuration
---@param parts { source: string, target: string }[] of context.files()
---@return moonsand.WrittenDockerfile
function M.write(o, base, parts)
  local plain_user = base.user or ""
  local as_root, back = {}, {}
  if plain_user ~= "" and plain_user ~= "root" and plain_user ~= "0" and plain_user ~= "0:0" then
    as_root, back = { "USER root" }, { "USER " .. plain_user }
  end
  local apt = {}
  local packages = declare.apt(o)
  if #packages > 0 then
    apt[1] = run(apt_script:format(table.concat(packages, " ")))
  end
  local rest, newlines = {}, false
  local function quote(s)
    newlines = newlines or s:find("\n", 1, true) ~= nil
    return M.quote(s)
  end
  for _, part in ipairs(parts) do
    rest[#rest + 1] = ("COPY [%s,%s]"):format(json.encode(part.source), copy_target(part.target))
  end
  pairs_line(rest, "ENV", o.env, function(s)
    return s
  end, quote)
  if o.workdir then
    rest[#rest + 1] = "WORKDIR " .. quote(o.workdir)
  end
  for _, script in ipairs(o.run or {}) do
    rest[#rest + 1] = run(script)
  end
  pairs_line(rest, "LABEL", o.labels, quote, quote)
  if o.user then
    rest[#rest + 1] = "USER " .. o.user
  end
  if newlines then
    table.insert(rest, 1, "ARG " .. M.newline)
  end
  local out = { args = newlines and { [M.newline] = "\n" } or {}, apt = apt[1] }
  local start = { ("ARG %s=%s"):format(M.from, base.ref), ("FROM ${%s}"):format(M.from) }
  out.final = text(start, rest)
  if not declare.has_packages(o) then
    local body = {}
    if #apt > 0 then
      append(body, as_root)
      append(body, apt)
      append(body, back)
      out.tree = text(start, body)
    end
    out.text = text({ "FROM " .. base.ref }, body, rest)
    return out
  end
  local fetch = { "COPY moonsand/ /moonsand/in/", 'RUN ["python3","/moonsand/in/wheels.py"]' }
  local whole = { "COPY --from=packages /moonsand/root/ /", run(replaced_script) }
  out.packages = text(start, as_root, fetch)
  out.tree = text(start, as_root, apt, whole, back)
  out.extended = text(start, { "COPY --from=packages /moonsand/delta/ /" })
  out.text = text({ "FROM " .. base.ref .. " AS packages" }, as_root, fetch, { "" }, { "FROM " .. base.ref }, as_root,
    apt,
    whole, back, rest)
  return out
end

--- The tree, with the certificates that lie at M.ca in the context before apt's eyes. Docker's classic builder cannot.
---@param written moonsand.WrittenDockerfile
---@return string
function M.with_ca(written)
  local at, stop = written.tree:find(written.apt, 1, true)
  return ("%sRUN --mount=type=bind,source=%s,target=%s %s"):format(written.tree:sub(1, at - 1), M.ca, ca_mount,
    written.apt:sub(#"RUN " + 1)) .. written.tree:sub(stop + 1)
end

--- A part with the image that its COPY --from takes, and with labels of ours.
---@param part string
---@param image string? a name, nil for a part that copies nothing
---@param labels table<string, string> names and values need no quoting
---@return string
function M.part(part, image, labels)
  local list = {}
  for name, value in pairs(labels) do
    list[#list + 1] = ('%s="%s"'):format(name, value)
  end
  table.sort(list)
  part = part:gsub("COPY %-%-from=packages ", function()
    return "COPY --from=" .. image .. " "
  end, 1)
  return part .. "LABEL " .. table.concat(list, " ") .. "\n"
end

-- --- reading a user's ------------------------------------------------------------------------------------------

local max_stages = 1000

--- The instructions of a Dockerfile, with continued lines joined and comments and here-documents left out.
---@return { name: string, rest: string, line: integer }[] instructions
---@return table<string, string> directives
local function instructions(source)
  local out, directives, escape = {}, {}, "\\"
  local lines, i = {}, 0
  for line in (source:gsub("\r\n", "\n") .. "\n"):gmatch "(.-)\n" do
    lines[#lines + 1] = line
  end
  lines[1] = lines[1] and lines[1]:gsub("^\u{FEFF}", "")
  -- Directives stand at the top only, before comments and anything else.
  while lines[i + 1] do
    local key, value = lines[i + 1]:match "^%s*#%s*(%a+)%s*=%s*(.-)%s*$"
    if not key or directives[key:lower()] then
      break
    end
    directives[key:lower()] = value
    i = i + 1
  end
  if directives.escape == "`" then
    escape = "`"
  end
  local number, current, start = 0, nil, nil
  local function finish()
    if current then
      local name, rest = current:match "^%s*(%S+)%s*(.-)%s*$"
      if name then
        out[#out + 1] = { name = name:upper(), rest = rest, line = start }
      end
    end
    current = nil
  end
  while number < #lines do
    number = number + 1
    local line = lines[number]
    if line:find "^%s*#" or (current and line:find "^%s*$") then
      line = nil -- comments and empty lines do not even end a continued instruction
    end
    if line then
      start = current and start or number
      local body = line:match("^(.-)%" .. escape .. "[ \t]*$")
      current = (current or "") .. (body or line)
      if not body then
        local here = {}
        local word = current:match "^%s*(%a+)"
        if word and (word:upper() == "RUN" or word:upper() == "COPY" or word:upper() == "ADD") then
          for dash, name in current:gmatch "<<(%-?)[\"']?([%a_][%w_]*)[\"']?" do
            here[#here + 1] = { name, dash == "-" }
          end
        end
        finish()
        for _, doc in ipairs(here) do
          local at = number + 1
          while lines[at] and (doc[2] and lines[at]:gsub("^\t+", "") or lines[at]) ~= doc[1] do
            at = at + 1
          end
          if lines[at] then -- without its end it is no here-document
            number, out[#out].here = at, true
          end
        end
      end
    end
  end
  finish()
  return out, directives
end

--- Puts values in place of $NAME, ${NAME}, ${NAME:-default} and ${NAME:+other}; quotes are taken off.
local function expand(word, values)
  local depth = 0
  local function value_of(body)
    local name, op, other = body:match "^([%a_][%w_]*)(:?[-+]?)(.*)$"
    if not name then
      return ""
    end
    local value = values[name]
    depth = depth + 1
    if op == ":-" or op == "-" then
      local empty = value == nil or (op == ":-" and value == "")
      value = empty and (depth < 8 and expand(other, values) or "") or value
    elseif op == ":+" or op == "+" then
      local full = value ~= nil and not (op == ":+" and value == "")
      value = full and (depth < 8 and expand(other, values) or "") or ""
    end
    depth = depth - 1
    return value or ""
  end
  local out, i = {}, 1
  while i <= #word do
    local c = word:sub(i, i)
    local body = c == "$" and word:match("^%b{}", i + 1)
    local name = c == "$" and not body and word:match("^[%a_][%w_]*", i + 1)
    if body then
      out[#out + 1] = value_of(body:sub(2, -2))
      i = i + 1 + #body
    elseif name then
      out[#out + 1] = value_of(name)
      i = i + 1 + #name
    else
      if c ~= '"' and c ~= "'" then
        out[#out + 1] = c
      end
      i = i + 1
    end
  end
  return table.concat(out)
end

local function parse_args(rest, values, given)
  for word in rest:gmatch "%S+" do
    local name, default = word:match "^([%a_][%w_]*)=?(.*)$"
    if name then
      if given[name] ~= nil then
        values[name] = given[name]
      elseif word:find("=", 1, true) then
        values[name] = expand(default, values)
      end
    end
  end
end

-- The images of RUN --mount=type=bind,from=IMAGE,...: flags stand before the command.
local function mounted(rest)
  local out = {}
  local flag, at = rest:match "^(%-%-%S+)%s+()"
  while flag do
    local ref = flag:match "^%-%-mount=.*%f[^=,]from=([^,]+)"
    if ref and not ref:find("$", 1, true) then
      out[#out + 1] = ref
    end
    flag, at = rest:match("^(%-%-%S+)%s+()", at)
  end
  return out
end

--- What a Dockerfile builds on, before any builder has seen it: the images of its FROM, COPY --from and
--- RUN --mount=from= (not its own stages, not "scratch"), each once, in their order. What cannot be told is left to
--- the builder.
---@param source string
---@param given table<string, string> build arguments
---@return { images: { ref: string, platform: string? }[], base: table?, buildkit: boolean } base: that of images which
--- the last stage begins with; buildkit: it needs that builder
function M.read(source, given)
  local list, directives = instructions(source)
  local out, seen, stages, values, global, count = {}, {}, {}, {}, true, 0
  local base
  local buildkit = directives.syntax ~= nil
  local function add(ref, platform)
    local lower = ref:lower()
    if ref ~= "" and lower ~= "scratch" and not stages[lower] and not ref:find "^%d+$" then
      if not seen[ref] then
        seen[ref] = { ref = ref, platform = platform }
        out[#out + 1] = seen[ref]
      end
      return seen[ref]
    end
  end
  for _, item in ipairs(list) do
    buildkit = buildkit or item.here == true
    if item.name == "ARG" and global then
      parse_args(item.rest, values, given)
    elseif item.name == "FROM" then
      global, count = false, count + 1
      if count > max_stages then
        break
      end
      local platform
      local rest = item.rest:gsub("^%-%-platform=(%S+)%s*", function(p)
        platform = expand(p, values)
        return ""
      end)
      local ref, as = rest:match "^(%S+)%s+[Aa][Ss]%s+(%S+)$"
      ref = expand(ref or rest:match "^%S*", values)
      base = add(ref, platform ~= "" and platform or nil) or stages[ref:lower()] or {}
      if as then
        stages[as:lower()] = base
      end
    elseif item.name == "COPY" then
      local ref = item.rest:match "^%-%-from=(%S+)" or item.rest:match "^%-%-%S+%s+%-%-from=(%S+)"
      if ref and not ref:find("$", 1, true) then
        add(ref)
      end
    elseif item.name == "RUN" then
      for _, ref in ipairs(mounted(item.rest)) do
        add(ref)
      end
    end
    if item.name == "RUN" and item.rest:find "^%-%-%a" or item.name == "COPY" and item.rest:find "^%-%-link" then
      buildkit = true
    end
  end
  return { images = out, base = base and base.ref and base, buildkit = buildkit }
end

return M

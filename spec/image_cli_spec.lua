-- `moonsand image ...`: what it prints, what it ends with, and what progress looks like.
-- Plain build only: builds images, with the C of image_build_spec
local E = require "spec.support.engines"
local bars = require "moonsand.cli.bars"
local json = require "moonsand.json"

local dir, tar

local function sh(format, ...)
  return assert(os.execute(format:format(...)))
end

local function read(path)
  local f = assert(io.open(path, "rb"))
  local bytes = f:read "a"
  f:close()
  return bytes
end

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  sh("mkdir -m 700 '%s' '%s/root' && head -c 3000000 /dev/urandom >'%s/root/blob' && tar -C '%s/root' -cf '%s/t.tar' .",
    dir, dir, dir, dir, dir)
  tar = dir .. "/t.tar"
end)

teardown(function()
  sh("rm -rf '%s'", dir)
end)

local function words(arguments)
  return ("LUA_PATH='%s' LUA_CPATH='%s' XDG_STATE_HOME='%s' lua5.4 bin/moonsand image %s"):format(
    package.path, package.cpath, dir, arguments)
end

--- Runs it without a terminal; stdout, stderr, exit status.
local function moonsand(arguments, input)
  local p = assert(io.popen(("%s 2>'%s/err' <%s"):format(words(arguments), dir, input or "/dev/null")))
  local out = p:read "a"
  local _, _, status = p:close()
  return out, read(dir .. "/err"), status
end

--- Runs it on a terminal of its own; all that came there, exit status.
local function on_terminal(arguments, environment)
  local p = assert(io.popen(("%s TERM=xterm script -qec \"stty cols 70 rows 20; %s\" /dev/null </dev/null"):format(
    environment or "", words(arguments))))
  local out = p:read "a"
  local _, _, status = p:close()
  return out, status
end

E.each(describe, "moonsand image", function(kind)
  local at = " --engine " .. (E.url[kind] or "")
  local ref = "localhost/specs/cli:1"

  local function engine()
    return E.engine(kind)
  end

  after_each(function()
    for _, name in ipairs { ref, "localhost/specs/cli:2", "localhost/moonsand/image:specs-cli" } do
      engine():remove(name, { force = true })
    end
  end)

  it("import, list, show, history, tag, rm", function()
    local out, err, status = moonsand(("import %s %s --change 'LABEL a=b'"):format(tar, ref) .. at)
    assert.equal(0, status, err)
    assert.matches("^localhost/specs/cli:1  %x+  %d+%.%d MiB\n$", out)
    assert.is_nil(err:find("\27", 1, true))
    local id = assert(engine():inspect(ref)).id
    out = moonsand("list" .. at)
    assert.matches("localhost/specs/cli:1  " .. id:sub(8, 19), out)
    local _
    out, _, status = moonsand("list --json" .. at)
    assert.equal(0, status)
    local found
    for _, item in ipairs(json.decode(out)) do
      found = found or item.id == id and item
    end
    assert.same({ ref }, found.refs)
    out = moonsand(("show %s"):format(ref) .. at)
    assert.matches("label +a=b\n", out)
    assert.truthy(out:find(id, 1, true))
    out = moonsand(("show %s --json"):format(ref) .. at)
    assert.equal("b", json.decode(out).labels.a)
    out, _, status = moonsand(("history %s --json"):format(ref) .. at)
    assert.equal(0, status)
    assert.is_true(#json.decode(out) >= 1)
    out, _, status = moonsand(("tag %s localhost/specs/cli:2"):format(ref) .. at)
    assert.equal(0, status)
    assert.matches("^localhost/specs/cli:2  ", out)
    out, err, status = moonsand(("rm %s localhost/specs/cli:none"):format(ref) .. at)
    assert.equal(1, status)
    assert.equal("untagged localhost/specs/cli:1\n", out)
    assert.truthy(err:find("localhost/specs/cli:none", 1, true))
    out, _, status = moonsand("rm localhost/specs/cli:2 --json" .. at)
    assert.equal(0, status)
    assert.truthy(table.concat(json.decode(out).deleted, " "):find(id, 1, true))
  end)

  it("save and load, by files and by pipes", function()
    moonsand(("import %s %s"):format(tar, ref) .. at)
    local id = assert(engine():inspect(ref)).id
    local out, err, status = moonsand(("save %s -o %s/out.tar"):format(ref, dir) .. at)
    assert.equal(0, status, err)
    assert.truthy(out:find("out.tar  ", 1, true))
    out = moonsand(("save %s -o -"):format(ref) .. at)
    assert.equal(#read(dir .. "/out.tar"), #out)
    engine():remove(ref)
    out, err, status = moonsand("load - --json" .. at, dir .. "/out.tar")
    assert.equal(0, status, err)
    assert.equal(id, json.decode(out)[1].id)
    local slow = ("(head -c 5000 '%s'; sleep 0.3; tail -c +5001 '%s')"):format(dir .. "/out.tar", dir .. "/out.tar")
    local p = assert(io.popen(slow .. " | " .. words("load - 2>/dev/null" .. at)))
    assert.truthy(p:read("a"):find(id:sub(8, 19), 1, true))
    assert.is_true(p:close())
    local _
    _, err, status = moonsand(("load %s/none.tar"):format(dir) .. at)
    assert.equal(125, status)
    assert.matches("none.tar", err)
    _, err, status = moonsand(("save %s -o %s/no/such/dir/x.tar"):format(ref, dir) .. at)
    assert.equal(125, status)
    assert.is_true(#err > 0)
  end)

  it("prune says what it would do, and does it", function()
    local made = assert(engine():import(tar, "localhost/moonsand/image:specs-cli", {
      changes = { "LABEL moonsand.kind=image" },
    }))
    local out, err, status = moonsand("prune --dry-run -v" .. at)
    assert.equal(0, status, err)
    assert.matches("kept localhost/moonsand/image:specs%-cli  image", out)
    out, err, status = moonsand("prune --dry-run --json --unused-for 30d --older-than 1w" .. at)
    assert.equal(0, status, err)
    local answer = json.decode(out)
    assert.is_true(answer.dry_run)
    local why
    for _, item in ipairs(answer.kept) do
      why = item.id == made.id and item.why or why
    end
    assert.equal("it is younger", why)
    local _
    _, err, status = moonsand("prune --unused-for never" .. at)
    assert.equal(125, status)
    assert.matches("unused_for", err)
  end)

  it("tells what is not there in one line", function()
    for _, arguments in ipairs {
      "show localhost/specs/none", "history localhost/specs/none", "push localhost:1/specs/none",
      "tag localhost/specs/none localhost/specs/cli:2", "lock localhost/specs/none",
      "save localhost/specs/none -o /dev/null/x",
    } do
      local out, err, status = moonsand(arguments .. at)
      assert.equal(125, status, arguments)
      assert.equal("", out)
      assert.matches("^moonsand: [^\n]+\n$", err)
    end
    for _, arguments in ipairs {
      "", "show", "rm", "save x", "build", "build no-such-file --pip numpy", "show Nonsense", "nonsense",
    } do
      local _, err, status = moonsand(arguments .. at)
      assert.equal(125, status, arguments)
      assert.is_nil(err:find(".lua:", 1, true), err)
    end
  end)

  it("draws bars on a terminal, with bytes and time, and takes them away", function()
    local out, status = on_terminal(("import %s %s"):format(tar, ref) .. at)
    assert.equal(0, status, out)
    assert.matches("import [^\n]*%[=+>? *%]  [%d.]+ %a+ / 2%.9 MiB  [%d.]+ %a+/s  [%d.]+ s", out)
    assert.matches("\27%[%d+A\r\27%[J", out)
    assert.matches("localhost/specs/cli:1  %x+  2.9 MiB\r?\n$", out)
    for line in out:gmatch "[^\r\n]+" do
      assert.is_true(#line:gsub("\27%[[%d;]*%a", "") <= 70, line)
    end
    out = on_terminal(("import %s %s"):format(tar, ref) .. at, "NO_COLOR=1")
    assert.is_nil(out:find "\27%[[%d;]*m")
    assert.matches("%[=+>? *%]", out)
    out = on_terminal(("import %s %s --quiet"):format(tar, ref) .. at)
    assert.is_nil(out:find("[=", 1, true))
  end)
end)

describe("bars", function()
  local out, now

  local function new(given)
    out, now = {}, 0
    given.write = function(s)
      out[#out + 1] = s
    end
    given.now = function()
      return now
    end
    return bars.new("pull a:1", given)
  end

  it("are a line for each news where there is no terminal", function()
    local b = new { live = false }
    for _, event in ipairs {
      { phase = "pull", id = "x", status = "Waiting" },
      { phase = "pull", id = "x", status = "Downloading", current = 1, total = 9 },
      { phase = "pull", id = "x", status = "Downloading", current = 5, total = 9 },
      { phase = "pull", status = "Done\27[2J" },
      { phase = "build", step = 1, steps = 2, name = "FROM a" }, { phase = "build", stream = "stdout", line = "hello" },
      { phase = "build", step = 2, steps = 2, name = "RUN b", cached = true },
      { phase = "build", step = 2, steps = 2, name = "RUN b", cached = true },
    } do
      b:event(event)
    end
    b:close()
    assert.equal("x: Waiting\nx: Downloading\nDone [2J\nstep 1/2: FROM a\nhello\nstep 2/2: RUN b (cached)\n",
      (table.concat(out):gsub("  hello", "hello")))
  end)

  it("show the sum of the layers, and what unpacks stays counted", function()
    local b = new { live = true, columns = 100 }
    now = 1
    b:event { phase = "pull", id = "a", status = "Downloading", current = 1 << 20, total = 4 << 20 }
    now = 2
    b:event { phase = "pull", id = "b", status = "Downloading", current = 4 << 20, total = 4 << 20 }
    assert.matches("pull a:1  %[=+> +%]  5.0 MiB / 8.0 MiB  2.5 MiB/s  2.0 s\n", out[#out])
    now = 3
    b:event { phase = "pull", id = "b", status = "Extracting", current = 1 << 20, total = 4 << 20 }
    assert.matches("5.0 MiB / 8.0 MiB", out[#out])
    local frames = #out
    b:event { phase = "pull", id = "b", status = "Extracting", current = 2 << 20, total = 4 << 20 }
    assert.equal(frames, #out) -- at most ten a second
    b:close()
    b:close()
    assert.equal("\27[3A\r\27[J", out[#out])
    assert.equal(frames + 1, #out)
  end)

  it("show steps, the instruction and its last line", function()
    local b = new { live = true, columns = 83 }
    now = 1
    b:event { phase = "build", step = 3, steps = 6, name = "RUN pip install " .. ("x"):rep(200) }
    now = 75
    b:event { phase = "build", line = "Collecting numpy\27[31m" }
    local lines = {}
    for line in out[#out]:gsub("\27%[[%d;]*%a", ""):gmatch "[^\r\n]+" do
      lines[#lines + 1] = line
    end
    assert.equal("pull a:1  [==========>         ] step 3/6  1:15 min", lines[1])
    assert.matches("^  RUN pip install x+$", lines[2])
    assert.equal(82, #lines[2])
    assert.equal("    Collecting numpy [31m", lines[3])
    b:close()
  end)

  it("bear any event", function()
    local b = new { live = true, columns = 10 }
    for i = 1, 3000 do
      now = i
      b:event { phase = "pull", id = tostring(i), status = "x" }
    end
    b:event {}
    b:event { status = "\u{65e5}\u{672c}", current = 5 }
    assert.equal("[=====>    ]", bars.bar(2, 4, 12))
    assert.equal("[==========]", bars.bar(9, 4, 12))
    b:close()
  end)
end)

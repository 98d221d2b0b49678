-- The options that keep containers ready: what each takes, which go together, and what one is told. No engine.
local options = require "moonsand.options"
local pool_options = require "moonsand.pool_options"

local function take(given)
  return pool_options.take(options.check("engine:sandbox", given, pool_options.schema), 1)
end

local function refused(given, ...)
  local ok, err = pcall(take, given)
  assert.is_false(ok, "nothing was raised")
  for _, part in ipairs { ... } do
    assert.truthy(tostring(err):find(part, 1, true), ("%q does not say %q"):format(tostring(err), part))
  end
  assert.falsy(tostring(err):find "%c")
end

describe("without a pool", function()
  it("nothing is kept ready", function()
    assert.is_false(take {})
    assert.is_false(take { mode = "container" })
  end)

  it("what needs one is refused, with the way out", function()
    for name, value in pairs {
      preload = { "numpy" }, preload_script = { code = "" }, language = "lua", interpreter = "python3", max_age = 5,
      on_pool = print,
    } do
      refused({ [name] = value }, name, "pool = N", "mode = \"fork\"")
    end
  end)

  it("what is of forks is refused, with the way out", function()
    refused({ workers = 2 }, "workers", "pool = N", "mode = \"fork\"")
    refused({ workers = 2, mode = "container" }, "workers", "pool = N")
    refused({ require = "landlock", pool = 2 }, "require", "mode = \"fork\"")
    refused({ max_runs = 5, pool = 2 }, "max_runs", "used once")
  end)
end)

describe("a pool of fresh containers", function()
  it("has a number or is sized by the machine", function()
    assert.same({ mode = "container", workers = 3 }, take { pool = 3 })
    assert.same({ mode = "container", workers = 3 }, take { pool = "3" })
    assert.same({ mode = "container", workers = "auto" }, take { pool = "auto", mode = "container" })
    for _, value in ipairs { 0, -1, 1.5, 1025, "some", "", 0 / 0, math.huge, true, {}, "99999999999999999999" } do
      refused({ pool = value }, "'pool'", "auto")
    end
  end)

  it("may have an interpreter with modules loaded", function()
    assert.same({ mode = "container", workers = 1, preload = { "os.path" }, language = "python" },
      take { pool = 1, preload = { "os.path" }, language = "python" })
    refused({ pool = 1, language = "lua" }, "language", "preload")
    refused({ pool = 1, interpreter = "python3" }, "interpreter", "preload")
  end)
end)

describe("forks", function()
  it("have one worker unless told otherwise", function()
    assert.same({ mode = "fork", workers = 1 }, take { mode = "fork" })
    assert.same({ mode = "fork", workers = "auto" }, take { mode = "fork", workers = "auto" })
    assert.same({ mode = "fork", workers = 2, require = "namespaces", max_runs = 7, max_age = 300, language = "lua" },
      take { mode = "fork", workers = 2, require = "namespaces", max_runs = 7, max_age = "5m", language = "lua" })
  end)

  it("have no pool beside their workers", function()
    refused({ mode = "fork", pool = 2 }, "pool", "workers = N")
  end)

  it("take words from short lists only", function()
    refused({ mode = "forks" }, "mode", "container", "fork")
    refused({ mode = "fork", require = "seccomp" }, "require", "landlock", "namespaces")
    refused({ mode = "fork", language = "perl" }, "language", "python", "lua")
  end)
end)

describe("what is loaded beforehand", function()
  it("is a list of modules' names", function()
    local names = { "numpy", "os.path", "_x", "größe", "a1.b2", "lua-x" }
    assert.same(names, take { mode = "fork", preload = names }.preload)
    for _, bad in ipairs { "numpy, pandas", "", "1a", "a..b", "a.", ".a", "a b", "a;b", "a\nb", "a\0b", "\xff", 5, {},
      ("x"):rep(201) } do
      refused({ mode = "fork", preload = { "os", bad } }, "preload", "entry 2", "numpy")
    end
    local many = {}
    for i = 1, 65 do
      many[i] = "m" .. i
    end
    refused({ mode = "fork", preload = many }, "preload", "at most 64", "65")
    refused({ mode = "fork", preload = "numpy" }, "preload", "list")
    refused({ mode = "fork", preload = { numpy = true } }, "preload", "list")
    refused({ mode = "fork", preload = { "os", nil, "sys" } }, "preload", "list")
  end)

  it("is a script's text, from a file or given", function()
    assert.equal("x = 1", take { mode = "fork", preload_script = { code = "x = 1" } }.preload_script)
    local path = os.tmpname()
    local f = assert(io.open(path, "w"))
    f:write "y = 2"
    f:close()
    assert.equal("y = 2", take { mode = "fork", preload_script = path }.preload_script)
    os.remove(path)
    local plan, err = take { mode = "fork", preload_script = path }
    assert.is_nil(plan)
    assert.equal("not_found", err.code)
    plan, err = take { mode = "fork", preload_script = "/" }
    assert.is_nil(plan)
    assert.matches("preload script / is a directory", err.message)
    for _, bad in ipairs { {}, { code = 5 }, { code = "", path = "x" }, { code = "a\0b" }, 5, "", "a\0b" } do
      refused({ mode = "fork", preload_script = bad }, "preload_script")
    end
  end)

  it("is loaded by one program", function()
    assert.equal("python3.11", take { mode = "fork", interpreter = "python3.11" }.interpreter)
    for _, bad in ipairs { "python3 -u", "", "a\tb", 5 } do
      refused({ mode = "fork", interpreter = bad }, "interpreter")
    end
  end)
end)

--- moonsand sweep SWEEP.lua | FILE --param NAME=VALUES ... --objective NAME
local common = require "moonsand.cli.common"
local core = require "moonsand.core"
local drive = require "moonsand.cli.sweep_drive"
local givens = require "moonsand.sweep.given"
local json = require "moonsand.json"
local limits = require "moonsand.cli.limits"
local live = require "moonsand.cli.live"
local moonsand = require "moonsand"
local plan_of = require "moonsand.cli.sweep_plan"
local sweep_box = require "moonsand.cli.sweep_box"
local table_of = require "moonsand.cli.trials"
local term = require "moonsand.cli.term"
local text = require "moonsand.text"

local M = {}

local shown_best = 5
local interrupted, fruitless = 130, 1 -- exit statuses

local function modules(given)
  local out = {}
  for word in given:gmatch "[^,%s]+" do
    out[#out + 1] = word
  end
  return out
end

local function jobs(given)
  local n = math.tointeger(tonumber(given))
  if given ~= "auto" and not (n and n >= 1 and n <= 1024) then
    return nil, ("--jobs %s: write a number of workers from 1 to 1024, or auto"):format(given)
  end
  return n or given
end

function M.define(parser)
  local c = parser:command("sweep", "Run a program with many parameters, and keep what each run says.")
  c:argument("file", "A Lua file that returns moonsand.sweep { ... } or its options; or the program itself, with "
    .. "--param and --objective."):argname "FILE"
  common.engine_option(c)
  c:option("--param", "A parameter: NAME=5:30:5, NAME=0.1:0.9, NAME=log:1e-4:1e-1, NAME=a,b,c, NAME=7."):count "*"
    :argname "NAME=VALUES"
  c:option("--where", "Lua expression that says which points are wanted: 'fast<slow'."):argname "EXPRESSION"
  c:option("--objective", "Member of the program's result that is maximised; several: NAME=maximize, NAME=minimize.")
    :argname "NAME":count "*"
  c:flag("--minimize", "Minimise it.")
  c:flag("--arguments", "Give the parameters as --NAME VALUE, too, besides the file $MOONSAND_PARAMS.")
  c:option("--sampler", "grid, random, latin, sobol, tpe, or a plugin's (grid)."):argname "NAME"
  c:option("--pruner", "median, halving, or a plugin's (none)."):argname "NAME"
  c:option("--seed", "Of what is random (0)."):argname "N"
  c:option("--max-trials", "At most so many trials."):argname "N"
  c:option("--max-time", "No new trials after so long."):argname "TIME"
  c:option("--target", "End when the objective has reached this."):argname "VALUE"
  c:option("--halt-failures", "End after so many failures, or such a part of all: 3%."):argname "N"
  c:flag("--fail-fast", "End after the first failure.")
  c:option("--jobs", "Workers, and trials at a time (as many as the machine has room for)."):argname "N":convert(jobs)
  c:option("--journal", "File for what happened to each trial (NAME-DATE-TIME.jsonl here)."):argname "FILE"
  c:flag("--no-journal", "Keep none: what is interrupted cannot go on.")
  c:option("--fsync", "How often the journal reaches the disk: always, never, or after a time (1s)."):argname "WHEN"
  c:option("--resume", "Go on with the journal; with failed, run only what failed."):args "?":argname "failed"
    :choices { "failed" }
  c:option("--cache", "Journal of another sweep: what is in it is not run again."):argname "FILE":count "*"
  c:option("--report", "Write an HTML report."):argname "FILE"
  c:option("--plugin", "By name or path: csv:path=all.csv."):argname "NAME[:OPTION=VALUE,...]":count "*"
  c:option("--image", "Image (default: $MOONSAND_IMAGE, else one that is there)."):argname "REF"
  c:option("--preset", "One of our images, built when it is not there."):choices { "backtesting" }
  limits.define(c, "1 for each worker")
  c:option("--require", "What a fork must have at least: landlock or namespaces."):argname "TIER"
  c:option("--mode", "fork: forks of an interpreter that waits; container: a new container for each trial (fork).")
    :choices { "fork", "container" }
  c:option("--preload", "Modules to load once, with commas between them, or none (what the script imports).")
    :argname "MODULES":convert(function(given)
      return given == "none" and {} or modules(given)
    end)
  c:option("--data", "File that all trials find in $MOONSAND_DATA."):argname "PATH[=NAME]":count "*"
  c:option("--dataset", "The same, and each trial is run with each of these: the parameter data is its name.")
    :argname "PATH[=NAME]":count "*"
  c:flag("--dry-run", "Count the trials, run three, and estimate the time of all.")
  c:flag("--json", "Print the outcome as JSON.")
  c:flag("-q --quiet", "No progress, no summary.")
end

-- A word that a shell reads as it is.
local function quoted(word)
  if word:find "^[%w_./:=,@%%+-]+$" then
    return word
  end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- The command line that goes on where this one was interrupted.
---@param argv string[]
---@param journal string
---@return string
function M.resume_line(argv, journal)
  local words, has_journal, has_resume = { "moonsand" }, false, false
  for _, word in ipairs(argv) do
    has_journal = has_journal or word:find "^%-%-journal" ~= nil
    has_resume = has_resume or word:find "^%-%-resume" ~= nil
    words[#words + 1] = quoted(word)
  end
  if not has_journal then
    words[#words + 1] = "--journal " .. quoted(journal)
  end
  if not has_resume then
    words[#words + 1] = "--resume"
  end
  return table.concat(words, " ")
end

local function reasons(study)
  local parts, names = {}, {}
  for reason in pairs(study.failures) do
    names[#names + 1] = reason
  end
  table.sort(names)
  for i, reason in ipairs(names) do
    parts[i] = ("%d %s"):format(study.failures[reason], text.harmless(reason, 40))
  end
  return table.concat(parts, ", ")
end

local function first_failure(study)
  for _, trial in ipairs(study:trials()) do
    if trial.state == "failed" then
      return trial
    end
  end
end

local function print_summary(study, progress, plan, objective)
  local out = { ("%d trials in %s: %d complete, %d failed, %d pruned%s\n"):format(progress.done,
    live.seconds(progress.elapsed_s), progress.complete, progress.failed, progress.pruned,
    (progress.cached or 0) > 0 and (", %d known before"):format(progress.cached) or "") }
  local first = progress.failed > 0 and first_failure(study)
  if first then
    out[#out + 1] = ("failures: %s; the first is trial %d: %s\n"):format(reasons(study), first.number,
      text.harmless(first.message or first.reason or "", 300))
  end
  if progress.complete > 0 then
    out[#out + 1] = ("\nbest by %s\n"):format(objective)
    out[#out + 1] = table_of.text(study:top(shown_best))
  end
  out[#out + 1] = "\n"
  for _, entry in ipairs { { "journal", plan.given.journal }, { "report", plan.report } } do
    if entry[2] then
      out[#out + 1] = ("%-8s %s\n"):format(entry[1], term.line(tostring(entry[2])))
    end
  end
  io.stdout:write(table.concat(out))
end

local function objective_name(given)
  if type(given.objective) == "string" then
    return text.harmless(given.objective, 100)
  elseif type(given.objective) == "table" then
    local names = {}
    for i, entry in ipairs(given.objective) do
      names[i] = text.harmless(tostring(type(entry) == "table" and entry[1] or entry), 100)
    end
    return table.concat(names, " and ")
  end
  return "the objective"
end

-- JSON has no word for what is no number.
local function finite(value)
  if type(value) == "number" and (value ~= value or value == math.huge or value == -math.huge) then
    return value ~= value and "nan" or value > 0 and "inf" or "-inf"
  elseif type(value) == "table" then
    local out = {}
    for k, v in pairs(value) do
      out[k] = finite(v)
    end
    return out
  end
  return value
end

-- Without series and reports, which are long.
local function trial_json(trial)
  local out = {}
  for k, v in pairs(trial or {}) do
    if k ~= "series" and k ~= "reports" then
      out[k] = finite(v)
    end
  end
  return trial and out
end

local function outcome_json(study, progress, plan, signals)
  local top = json.array {}
  if progress.complete > 0 then
    for i, trial in ipairs(study:top(shown_best)) do
      top[i] = trial_json(trial)
    end
  end
  return {
    done = progress.done, complete = progress.complete, failed = progress.failed, pruned = progress.pruned,
    cached = progress.cached, total = progress.total, elapsed_s = progress.elapsed_s, ended_by = study.meta.stopped,
    failures = study.failures, best = trial_json(study:best()), top = top, journal = plan.given.journal,
    report = plan.report, interrupted = signals > 0,
  }
end

local function dry_run(args, plan, where)
  local space = givens.check(plan.given, 1).space
  local e = drive.estimate(plan.given, where, space, function(sweep)
    return live.new(sweep, { quiet = args.quiet or args.json })
  end)
  if args.json then
    common.print_json { trials = e.trials, exact = e.counted, done = e.done, tried_s = json.array(e.tried),
      failed = e.failed, jobs = e.jobs, seconds = e.seconds }
    return e.failed > 0 and fruitless or 0
  end
  local tried = {}
  for i, s in ipairs(e.tried) do
    tried[i] = live.seconds(s)
  end
  if not e.trials then
    io.stdout:write "the trials have no end of their own: give --max-trials for an estimate\n"
  else
    io.stdout:write(("%s%d trials%s, %d at a time\n"):format(e.counted and "" or "about ", e.trials,
      e.done > 0 and (" (%d are done)"):format(e.done) or "", e.jobs))
  end
  io.stdout:write(("%d were tried and took %s\n"):format(#tried, table.concat(tried, ", ")))
  if e.seconds then
    io.stdout:write(("all together: about %s\n"):format(live.seconds(e.seconds)))
  end
  if e.failed > 0 then
    io.stdout:write(("%d of them failed: %s\n"):format(e.failed, text.harmless(e.message or "", 300)))
  end
  return e.failed > 0 and fruitless or 0
end

local function write_report(study, plan, note)
  if not plan.report then
    return true
  end
  local ok, err = study:report(plan.report, { title = plan.name })
  io.stdout:seek "end" -- behind the page, when that is where it went
  if not ok then
    note(("the report cannot be written: %s"):format(err.message))
  end
  return ok
end

local function finish(args, plan, sweep, study, signals, note)
  local progress = sweep:progress()
  local written = signals > 1 or write_report(study, plan, note)
  for _, warning in ipairs(study.warnings or {}) do
    note(warning)
  end
  if args.json then
    common.print_json(outcome_json(study, progress, plan, signals))
  elseif not args.quiet then
    print_summary(study, progress, plan, objective_name(plan.given))
  end
  if signals > 0 then
    if plan.given.journal then
      io.stderr:write("interrupted; to go on: ", term.line(M.resume_line(args.words, plan.given.journal)), "\n")
    else
      io.stderr:write "interrupted; without a journal it cannot go on\n"
    end
    return interrupted
  elseif study.meta.stopped == "failures" or study.meta.stopped == "fail_fast" then
    note(("ended early, for too much failed (%s)"):format(study.meta.stopped))
    return fruitless
  end
  return (progress.complete == 0 or not written) and fruitless or 0
end

function M.main(args)
  local plan = plan_of.of(args)
  local line
  local function note(said)
    if line then
      line:note(said)
    else
      term.clear()
      io.stderr:write("moonsand: ", text.harmless(said, 1000), "\n")
    end
  end
  if args.resume and not core.stat(plan.given.journal) then
    note(("there is no journal %s yet: the sweep begins"):format(plan.given.journal))
  end
  -- Made before an engine is looked for: a mistake is told at once.
  local sweep = not args.dry_run and moonsand.sweep(plan.given)
  local where, engine = plan.executor, nil
  if not where then
    engine = common.connect(args)
  end
  local close_engine <close> = engine -- luacheck: ignore
  where = where or sweep_box.open(engine, args, plan.given, plan.box, note)
  if args.dry_run then
    return dry_run(args, plan, where)
  end
  line = live.new(sweep, { quiet = args.quiet })
  local _ <close> = line
  local study, err, signals, so_far = drive.run(sweep, where, line)
  line:close()
  if engine and where.close then
    where:close()
  end
  if not study then
    if so_far and #so_far > 0 and plan.given.journal then
      note("what was reached is kept; to go on: " .. M.resume_line(args.words, plan.given.journal))
    end
    error(err, 0)
  end
  return finish(args, plan, sweep, study, signals, note)
end

return M

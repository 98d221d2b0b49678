-- LuaRocks configuration of `make rock`: what Debian's packages provide already. (--deps-mode=none would install too,
-- but then the wrapper that LuaRocks writes for bin/moonsand knows no tree.)
rocks_provided = {
   ["lua-cjson"] = "2.1.0-1",
   argparse = "0.7.1-1",
}

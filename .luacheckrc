std = "lua54"
max_line_length = 120
exclude_files = { "build*", "lua/moonsand/*.d.lua" }
files["spec"] = { std = "lua54+busted" }

trim(tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 4096)
return 0

# From gcov's summaries to one line per source file of core and kernels, least covered first. A file
# that was compiled several times (kernels, once per instruction set) counts with its best.
/^File / {
    file = substr($0, 7, length($0) - 7)
    sub("^" root, "", file)
}
/^Lines executed:/ && file ~ /^(core|kernels)\// {
    split(substr($0, 16), part, "% of ")
    if (!(file in lines) || part[1] > share[file]) {
        share[file] = part[1]
        lines[file] = part[2]
    }
    file = ""
}
END {
    for (file in lines) {
        total += lines[file]
        reached += lines[file] * share[file] / 100
        printf "%6.1f %% of %4d lines  %s\n", share[file], lines[file], file | "sort -n"
    }
    close("sort -n")
    printf "%6.1f %% of %d lines in all\n", total ? 100 * reached / total : 0, total
    exit total == 0
}

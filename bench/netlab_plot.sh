#!/usr/bin/env bash
# Draws a table of bench/netlab.sh: seconds of a step, and to the loss where they are known, against the
# line's rate. Needs gnuplot.
#
#   bench/netlab_plot.sh TABLE > plot.svg
#
#   TABLE  what bench/netlab.sh printed; several runs of it may stand one after the other
set -euo pipefail
table=$(readlink -f "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# A file for each panel and arm: rate, seconds. Columns: bench/netlab.sh.
awk '$2 ~ /^[0-9.]+$/ {
  print $2, $5 > ($1 ".step." $3)
  if ($NF ~ /^[0-9]+$/) print $2, $NF > ($1 ".loss." $3)
}' "$table"

# One colour for a method in all panels, in the table's order.
declare -A colors=()
count=0
while read -r arm; do
  method=${arm%%+*}
  [ -n "${colors[$method]:-}" ] || colors[$method]=$((count += 1))
done < <(awk '$2 ~ /^[0-9.]+$/ { print $3 }' "$table")

mapfile -t panels < <(printf '%s\n' ./*.*.* | sed -E 's|^\./([^.]*\.[^.]*)\..*|\1|' | sort -u | sort -t. -k2r -k1r)
{
  echo "set terminal svg size $((460 * ${#panels[@]})),420 background '#ffffff' font 'sans-serif,13'"
  echo "set multiplot layout 1,${#panels[@]}"
  echo "set logscale xy; set grid lc rgb '#dddddd'; set border 3 lc rgb '#555555'; set tics nomirror"
  echo "set xlabel 'Mbit/s of each direction'; set key top right reverse Left spacing 1.1"
  echo "set ytics (0.1,0.2,0.5,1,2,5,10,20,50,100,200,500,1000,2000,5000,10000,20000,50000)"
  for panel in "${panels[@]}"; do
    case "$panel" in
      *.step) echo "set title '${panel%.*}: a step'; set ylabel 'seconds'" ;;
      *) echo "set title '${panel%.*}: to the loss of uncompressed'; set ylabel 'seconds'" ;;
    esac
    xtics=$(cat "$panel".* | awk '!seen[$1]++ { printf "%s%s", comma, $1; comma = "," }')
    echo "set xtics ($xtics)"
    lines=()
    for arm in "$panel".*; do
      name=${arm#"$panel".}
      lines+=("'$arm' using 1:2 with linespoints lw 2 pt 7 ps 0.6 lc ${colors[${name%%+*}]} \
        title '$name' noenhanced")
    done
    # Room for the legend above.
    cat "$panel".* | awk '{ if (!n++ || $2 < low) low = $2; if ($2 > high) high = $2 }
      END { printf "set yrange [%g:%g]\n", low / 1.3, high * 3 }'
    (IFS=,; echo "plot ${lines[*]}")
  done
  echo "unset multiplot"
} > plot.gp
gnuplot plot.gp

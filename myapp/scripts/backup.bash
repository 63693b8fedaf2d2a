#!/usr/bin/env bash
# Copies the database of the application; run by the task "backup" (setting backup_script).
#
# The task gives the settings as variables: MAIN_<SETTING, UPPER CASE, _ FOR ALL ELSE>. Used here:
#   MAIN_SQLALCHEMY_URL     what to copy: SQLite, or PostgreSQL through pg_dump
#   MAIN_BACKUP_DIRECTORY   where to put the copies
#   MAIN_BACKUP_KEEP        how many of them to keep (7)
#   PYTHON                  the Python that has the application (python3)
# Restore: gunzip a .sqlite.gz; pg_restore --clean --if-exists --no-owner -d DATABASE a .dump
set -euo pipefail
umask 077 # a copy is as private as the database

fail() {
    echo "backup: $1" >&2
    exit 1
}

: "${MAIN_SQLALCHEMY_URL:?backup: the setting sqlalchemy.url is missing}"
: "${MAIN_BACKUP_DIRECTORY:?backup: the setting backup.directory is missing}"
keep=${MAIN_BACKUP_KEEP:-7}
[[ $keep =~ ^[1-9][0-9]{0,4}$ ]] || fail "backup.keep = $keep: allowed are numbers from 1 to 99999"
helper=("${PYTHON:-python3}" -m myapp.scripts.backup_database)

mkdir -p "$MAIN_BACKUP_DIRECTORY"
directory=$(cd "$MAIN_BACKUP_DIRECTORY" && pwd)
name="$directory/myapp-$(date -u +%Y%m%dT%H%M%SZ)-$$"
partial="$name.partial"
trap 'rm -f "$partial"' EXIT

kind=$("${helper[@]}" kind)
case $kind in
    sqlite)
        finished="$name.sqlite.gz"
        "${helper[@]}" copy "$partial"
        ;;
    postgresql)
        finished="$name.dump"
        # By the environment: anybody on the machine may read the arguments of a process, password and all.
        pg_environment=$("${helper[@]}" environment)
        while IFS= read -r variable; do
            export "${variable?}"
        done <<<"$pg_environment"
        pg_dump --format=custom --no-password --file="$partial"
        ;;
    *) fail "no backup for a database of the kind $kind: allowed are sqlite and postgresql" ;;
esac

mv "$partial" "$finished" # at once: whoever sees the file sees all of it
"${helper[@]}" record "$finished"

# The names sort by time. A copy that another run has not finished matches no pattern.
shopt -s extglob
copies=("$directory"/myapp-*.@(sqlite.gz|dump))
for ((i = 0; i < ${#copies[@]} - keep; i++)); do
    rm -f "${copies[i]}"
    echo "Deleted ${copies[i]}"
done
echo "Made $finished"

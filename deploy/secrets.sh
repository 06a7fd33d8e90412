#!/bin/sh
# Make what docker-compose.yml needs in secrets/, each file once: what is there stays.
#
#     sh deploy/secrets.sh [NAME]
#
# NAME is how browsers call a lab behind the proxy, such as lab.example.org. Its certificate is signed
# by itself: put one of an authority, and its key, into tls_cert and tls_key.
#
# The files can be read by every user, as containers have other users than this machine. Nobody else
# than you gets into the folder.
set -eu
cd "$(dirname "$0")/.."
name=${1:-localhost}
folder=${LAB_SECRETS:-secrets}
mkdir -p "$folder"
chmod 700 "$folder"
umask 022

# A file of that name with what comes by standard input; none that is half written.
keep() {
    if [ -e "$folder/$1" ]; then
        cat > /dev/null
    else
        cat > "$folder/.$1"
        mv "$folder/.$1" "$folder/$1"
        echo "made $folder/$1"
    fi
}

# Hexadecimal digits mean nothing in a URL. Drawn before anything is written: without openssl there
# must be no empty password, which would be kept.
for each in redis_password database_password storage_id storage_password; do
    drawn=$(openssl rand -hex 24)
    echo "$drawn" | keep "$each"
done
redis=$(cat "$folder/redis_password")
database=$(cat "$folder/database_password")
id=$(cat "$folder/storage_id")
storage=$(cat "$folder/storage_password")

echo "unix://:$redis@/run/lab/redis.sock?db=0" | keep redis_socket_url
echo "redis://:$redis@broker:6379/0" | keep lab_redis_url
echo "postgresql://lab:$database@database:5432/lab" | keep lab_database_url
keep storage_credentials <<END
[default]
aws_access_key_id = $id
aws_secret_access_key = $storage
END
keep storage_keys <<END
{"identities": [{
  "name": "lab",
  "credentials": [{"accessKey": "$id", "secretKey": "$storage"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]
}]}
END

if [ ! -e "$folder/tls_cert" ] && [ ! -e "$folder/tls_key" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 \
        -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
        -keyout "$folder/.key" -out "$folder/.cert" 2> /dev/null
    chmod 644 "$folder/.key"
    keep tls_key < "$folder/.key"
    keep tls_cert < "$folder/.cert"
    rm "$folder/.key" "$folder/.cert"
fi

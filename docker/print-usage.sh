#!/usr/bin/env bash
# print-usage.sh URL: how to use the stack that just came up. HEARTH_TLS_CA and HEARTH_SECRETS as docker/host.sh sets them.
url=$1
trusted=(); [ -z "${HEARTH_TLS_CA:-}" ] || trusted=(--cacert "$HEARTH_TLS_CA")
model=$(curl -fsS "${trusted[@]}" ${HEARTH_API_KEY:+-H "authorization: Bearer $HEARTH_API_KEY"} "$url/v1/models" 2>/dev/null |
    sed -n 's/^{[^[]*\[{"id": *"\([^"]*\)".*/\1/p')
key=none header=
if [ -e "${HEARTH_SECRETS:-secrets}/${HEARTH_API_KEYS_FILE:-api_keys}" ]; then
    key=KEY header=" -H 'authorization: Bearer KEY'"
fi
cat <<EOF

hearth is up at $url

  curl${trusted[*]:+ ${trusted[*]}} $url/v1/chat/completions -H 'content-type: application/json'$header \\
    -d '{"model": "${model:-MODEL}", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}'

  from openai import OpenAI
  client = OpenAI(base_url="$url/v1", api_key="$key")
  client.chat.completions.create(model="${model:-MODEL}", messages=[{"role": "user", "content": "Hello!"}])

EOF
[ "$key" = none ] && echo '  Everyone who reaches that address may ask. make keys ARGS="create NAME" makes an API key, from then on one is needed.'
[ -n "${HEARTH_TLS_CA:-}" ] && echo "  Clients that do not know the certificate's CA take it from SSL_CERT_FILE."
echo '  make smoke   checks it    make logs   follows it    make down   stops it'

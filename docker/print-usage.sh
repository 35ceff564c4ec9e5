#!/usr/bin/env bash
# print-usage.sh URL [HINTS]: how to use the stack that just came up. HEARTH_TLS_CA and HEARTH_SECRETS as docker/host.sh
# sets them.
url=$1
hints=${2:-make smoke   checks it    make logs   follows it    make down   stops it}
# Asked by the gateway's Python, since a box may have no curl; with keys on, nobody is told.
ask='
import json, os, ssl, urllib.request
scheme = "https" if os.environ.get("HEARTH_TLS_CERTIFICATE_FILE") else "http"
answer = urllib.request.urlopen(f"{scheme}://127.0.0.1:8080/v1/models", context=ssl._create_unverified_context())
print(json.load(answer)["data"][0]["id"])'
model=$(docker compose exec -T gateway python -c "$ask" 2>/dev/null)
trusted=(); [ -z "${HEARTH_TLS_CA:-}" ] || trusted=(--cacert "$HEARTH_TLS_CA")
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
echo "  $hints"

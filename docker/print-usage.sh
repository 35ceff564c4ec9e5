#!/usr/bin/env bash
# print-usage.sh URL [HINTS]: how to use the stack that just came up.
url=$1
hints=${2:-make smoke   checks it    make logs   follows it    make down   stops it}
# Asked by the gateway's Python, since a box may have no curl; with keys on, nobody is told.
ask="import json, urllib.request as u; print(json.load(u.urlopen('http://127.0.0.1:8080/v1/models'))['data'][0]['id'])"
model=$(docker compose exec -T gateway python -c "$ask" 2>/dev/null)
cat <<EOF

hearth is up at $url

  curl $url/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "${model:-MODEL}", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}'

  from openai import OpenAI
  client = OpenAI(base_url="$url/v1", api_key="none")   # a key only if HEARTH_API_KEYS_FILE is set
  client.chat.completions.create(model="${model:-MODEL}", messages=[{"role": "user", "content": "Hello!"}])

  $hints
EOF

#!/usr/bin/env bash
# print-usage.sh URL: how to use the stack that just came up.
url=$1
model=$(curl -fsS "$url/v1/models" 2>/dev/null | sed -n 's/^{[^[]*\[{"id": *"\([^"]*\)".*/\1/p')
cat <<EOF

hearth is up at $url

  curl $url/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "${model:-MODEL}", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}'

  from openai import OpenAI
  client = OpenAI(base_url="$url/v1", api_key="none")   # a key only if HEARTH_API_KEYS_FILE is set
  client.chat.completions.create(model="${model:-MODEL}", messages=[{"role": "user", "content": "Hello!"}])

  make smoke   checks it    make logs   follows it    make down   stops it
EOF

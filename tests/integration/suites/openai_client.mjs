// Reads a streamed answer with OpenAI's SDK, chunk by chunk and with its own accumulator: node … BASE_URL REQUEST
import OpenAI from 'openai';

const [baseURL, request] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
const body = { ...JSON.parse(request), stream: true, stream_options: { include_usage: true } };

const chunks = [];
for await (const chunk of await client.chat.completions.create(body)) chunks.push(chunk);
const final = await client.chat.completions.stream(body).finalChatCompletion();
console.log(JSON.stringify({ chunks, final }));

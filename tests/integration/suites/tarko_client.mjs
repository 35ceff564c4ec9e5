// Reads a streamed answer as Agent TARS does, with its HTTP layer: node … BASE_URL REQUEST
import { TokenJS } from '@tarko/llm-client';

const [baseURL, request] = process.argv.slice(2);
const client = new TokenJS({ baseURL, apiKey: 'none' });
const body = { ...JSON.parse(request), provider: 'openai-compatible', stream: true };

const chunks = [];
for await (const chunk of await client.chat.completions.create(body)) chunks.push(chunk);
console.log(JSON.stringify({ chunks }));

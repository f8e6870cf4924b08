// One batch user's day with the unmodified `openai` npm client: `node suite.mjs http://127.0.0.1:PORT`.
// Other suites may use the same API meanwhile.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import OpenAI, { toFile } from "openai";
import { VERSION } from "openai/version";

const [, , apiUrl] = process.argv;
const WITHIN_MS = 30_000;
const ENDED = ["completed", "failed", "expired", "cancelled"];
const client = new OpenAI({ baseURL: `${apiUrl}/v1`, apiKey: "unused", maxRetries: 0 });

function jsonl(prompts) {
  return Object.entries(prompts)
    .map(([custom_id, content]) => ({
      custom_id,
      method: "POST",
      url: "/v1/chat/completions",
      body: { model: "echo", messages: [{ role: "user", content }] },
    }))
    .map((line) => `${JSON.stringify(line)}\n`)
    .join("");
}

async function until(look, done) {
  const deadline = Date.now() + WITHIN_MS;
  for (;;) {
    const found = await look();
    if (done(found)) return found;
    assert.ok(Date.now() < deadline, JSON.stringify(found));
    await sleep(100);
  }
}

async function lines(fileId) {
  const text = await (await client.files.content(fileId)).text();
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

async function all(pages) {
  const found = [];
  for await (const each of pages) found.push(each);
  return found;
}

const calls = [];
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  calls.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
  response.writeHead(204).end();
});

async function ask(method, path, body) {
  const response = await fetch(`${apiUrl}/sprout/v1/webhooks${path}`, {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, await response.clone().text());
  return response.json();
}

async function told(batchId, type, secret) {
  const about = () => calls.find((call) => JSON.parse(call.body).data.id === batchId);
  const { headers, body } = await until(about, Boolean);
  const event = await client.webhooks.unwrap(body, headers, secret);
  assert.deepEqual([event.type, event.object, event.data.id], [type, "event", batchId]);
  await assert.rejects(client.webhooks.unwrap(body.replace("batch", "botch"), headers, secret), /signature/);
}

async function aWholeBatch(secret) {
  const prompts = Object.fromEntries([...Array(9).keys()].map((number) => [`q${number}`, `Say ${number}`]));
  const content = jsonl({ ...prompts, bad: "[refuse] this" });
  const file = await client.files.create({ file: await toFile(Buffer.from(content), "day.jsonl"), purpose: "batch" });
  assert.deepEqual([file.object, file.bytes, file.filename], ["file", content.length, "day.jsonl"]);
  assert.deepEqual(await client.files.retrieve(file.id), file);
  assert.equal(await (await client.files.content(file.id)).text(), content);

  const terms = { endpoint: "/v1/chat/completions", completion_window: "24h" };
  const made = await client.batches.create({ input_file_id: file.id, ...terms, metadata: { day: "one" } });
  assert.equal(made.status, "validating");
  const batch = await until(
    () => client.batches.retrieve(made.id),
    (found) => ENDED.includes(found.status),
  );
  assert.equal(batch.status, "completed", JSON.stringify(batch));
  assert.deepEqual(batch.request_counts, { total: 10, completed: 9, failed: 1 });
  assert.deepEqual(batch.metadata, { day: "one" });
  const answers = await lines(batch.output_file_id);
  assert.deepEqual(new Set(answers.map((answer) => answer.custom_id)), new Set(Object.keys(prompts)));
  for (const { custom_id, response } of answers)
    assert.ok(response.body.choices[0].message.content.startsWith(prompts[custom_id]));
  const errors = await lines(batch.error_file_id);
  assert.deepEqual(errors.map((line) => [line.custom_id, line.response.status_code, line.error]), [["bad", 400, null]]);
  await told(batch.id, "batch.completed", secret);
  return batch;
}

async function cancelledMidway(secret) {
  const prompts = [...Array(16).keys()].map((number) => [`q${number}`, number < 8 ? "Say so" : "[hang] for ever"]);
  const content = Buffer.from(jsonl(Object.fromEntries(prompts)));
  const file = await client.files.create({ file: await toFile(content, "long.jsonl"), purpose: "batch" });
  const terms = { endpoint: "/v1/chat/completions", completion_window: "24h" };
  const made = await client.batches.create({ input_file_id: file.id, ...terms });
  await until(
    () => client.batches.retrieve(made.id),
    (found) => found.request_counts.completed,
  );
  assert.ok(["cancelling", "cancelled"].includes((await client.batches.cancel(made.id)).status));
  const batch = await until(
    () => client.batches.retrieve(made.id),
    (found) => ENDED.includes(found.status),
  );
  assert.equal(batch.status, "cancelled");
  const [kept, lost] = [await lines(batch.output_file_id), await lines(batch.error_file_id)];
  assert.equal(kept.length, batch.request_counts.completed);
  assert.equal(kept.length + lost.length, 16);
  assert.deepEqual(new Set(lost.map((line) => line.error.code)), new Set(["batch_cancelled"]));
  await told(batch.id, "batch.cancelled", secret);
  return batch;
}

async function listedWithPaging(ours) {
  const first = await client.batches.list({ limit: 1 });
  assert.deepEqual([first.data.length, first.has_more], [1, true]);
  const paged = (await all(client.batches.list({ limit: 1 }))).map((batch) => batch.id);
  assert.equal(new Set(paged).size, paged.length);
  assert.deepEqual(paged.filter((id) => ours.includes(id)), ours.toReversed());
  for (const order of ["asc", "desc"]) {
    const files = await all(client.files.list({ purpose: "batch", limit: 2, order }));
    const times = files.map((file) => file.created_at);
    const sorted = times.toSorted((one, other) => (order === "asc" ? one - other : other - one));
    assert.deepEqual(times, sorted);
    assert.ok(files.length >= 2);
  }
}

async function filesAreDeleted(batch) {
  for (const id of [batch.input_file_id, batch.output_file_id, batch.error_file_id]) {
    assert.deepEqual(await client.files.delete(id), { id, object: "file", deleted: true });
    await assert.rejects(client.files.retrieve(id), OpenAI.NotFoundError);
    await assert.rejects(client.files.content(id), OpenAI.NotFoundError);
  }
}

server.listen(0, "127.0.0.1");
await once(server, "listening");
const webhook = await ask("POST", "", { url: `http://127.0.0.1:${server.address().port}/hook` });
const whole = await aWholeBatch(webhook.signing_secret);
const stopped = await cancelledMidway(webhook.signing_secret);
await ask("DELETE", `/${webhook.id}`, {});
await listedWithPaging([whole.id, stopped.id]);
await filesAreDeleted(whole);
await assert.rejects(client.batches.retrieve("batch_none"), OpenAI.NotFoundError);
const nonsense = { input_file_id: "f", endpoint: "/v1/nonsense", completion_window: "24h" };
await assert.rejects(client.batches.create(nonsense), OpenAI.BadRequestError);
server.close();
server.closeAllConnections();
console.log(`openai ${VERSION} of npm: passed`);

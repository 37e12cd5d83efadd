// Enrolls a picture and searches another: node node.mjs URL APP_ID API_KEY ENROLL.jpg PROBE.jpg
import { readFile } from "node:fs/promises";

const [url, appId, apiKey, enroll, probe] = process.argv.slice(2);

async function ask(path, body, headers = {}) {
  const request = {
    method: "POST",
    headers: { "App-ID": appId, "API-Key": apiKey, ...headers },
    body,
    // A request may wait for others: the terminal answers within 60 s, or with 503.
    signal: AbortSignal.timeout(70_000),
  };
  const answer = await fetch(url + path, request);
  console.log(JSON.stringify(await answer.json()));
}

const form = new FormData();
form.set("subject_id", "anna");
form.set("image", new Blob([await readFile(enroll)], { type: "image/jpeg" }), "anna.jpg");
await ask("/v1/face/enroll", form);

const image = (await readFile(probe)).toString("base64");
const json = { "Content-Type": "application/json" };
await ask("/v1/face/search", JSON.stringify({ image, limit: 1 }), json);

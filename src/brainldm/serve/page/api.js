// Requests to the server; every refusal becomes an Error with the server's reason.

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Start it again: brainldm serve");
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.error ?? `The server answered ${answer.status}.`);
}

export const post = (path, content) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": newKey() },
    body: JSON.stringify(content),
  });

export const send = (file) =>
  ask(`/v1/scans?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });

// Follow a job: `each` gets its state whenever it changes. Where the stream breaks off, the browser
// asks again by itself.
export function follow(id, each) {
  const events = new EventSource(`/v1/jobs/${id}/events`);
  events.onmessage = (event) => {
    const job = JSON.parse(event.data);
    if (hasEnded(job)) events.close();
    each(job);
  };
}

export const hasEnded = (job) => ["finished", "failed", "cancelled"].includes(job.state);

// crypto.randomUUID is there on secure pages only, and a page on the local network is none.
const newKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((x) => x.toString(16).padStart(2, "0")).join("");

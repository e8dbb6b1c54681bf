/** Server-sent events, as far as OpenAI's clients read them. */

import { once } from 'node:events';
import type { Response } from 'express';

/** Begins with its first event, so that what fails before can still be answered by a status. */
export class EventStream {
  private readonly response: Response;
  private readonly gone: AbortSignal;

  /** @param gone aborts when the caller has closed the connection */
  constructor(response: Response, gone: AbortSignal) {
    this.response = response;
    this.gone = gone;
  }

  get begun(): boolean {
    return this.response.headersSent;
  }

  /** Writes one event and waits for a slow caller, so that an answer never piles up here. */
  async send(body: object): Promise<void> {
    await this.write(JSON.stringify(body));
  }

  /** The mark by which clients know that a stream was not cut. */
  async finish(): Promise<void> {
    await this.write('[DONE]');
    this.response.end();
  }

  private async write(data: string): Promise<void> {
    if (!this.begun) {
      this.response.status(200);
      this.response.setHeader('content-type', 'text/event-stream; charset=utf-8');
      this.response.setHeader('cache-control', 'no-cache, no-transform');
    }
    const room = this.response.write(`data: ${data}\n\n`);
    if (!room && !this.gone.aborted) await once(this.response, 'drain', { signal: this.gone });
  }
}

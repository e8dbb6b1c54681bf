/** An engine without a model: it says what a test gives it, and fails where the test wants. */

import { setTimeout as pause } from 'node:timers/promises';
import {
  engineRefusals,
  type Engine,
  type GenerationEvent,
  type GenerationRequest,
} from '../../src/agent/engine/engine.ts';

/** Pieces of text; an error in their place is thrown there, and a number waits so many milliseconds. */
export type Script = readonly (string | number | Error)[];

export class FakeEngine implements Engine {
  readonly description = {
    processId: 0,
    contextTokens: 4096,
    ownChatTemplate: false,
    confinement: {
      coreLimitBytes: 0,
      dumpable: false,
      noNewPrivileges: true,
      parentDeathSignal: 9,
      seccompFilters: 2,
      openRings: 0,
    },
  };
  readonly ended: Promise<void>;
  readonly requests: GenerationRequest[] = [];
  /** Pieces that were written, and answers that were ended before their time. */
  written = 0;
  cancelled = 0;
  private readonly script: Script;
  private end: () => void = () => undefined;

  constructor(script: Script) {
    this.script = script;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  async *generate(
    request: GenerationRequest,
    signal: AbortSignal,
  ): AsyncGenerator<GenerationEvent, void, void> {
    this.requests.push(request);
    let complete = false;
    try {
      for (const part of this.script) {
        if (part instanceof Error) throw part;
        if (typeof part === 'number') await pause(part, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) throw cancelledError();
        if (typeof part === 'string') {
          this.written += 1;
          yield { kind: 'text' as const, text: part };
        }
      }
      complete = true;
      const usage = { promptTokens: 3, completionTokens: this.script.length };
      yield { kind: 'end' as const, reason: 'stop' as const, usage };
    } finally {
      if (!complete) this.cancelled += 1;
    }
  }

  close(): Promise<void> {
    this.end();
    return this.ended;
  }
}

const cancelledError = (): Error =>
  engineRefusals.error('engine-cancelled', { field: 'request', expected: 'an answer', found: 'cancelled' });
export const deadEngineError = (): Error =>
  engineRefusals.error('engine-ended', { field: 'engine', expected: 'a running process', found: 'SIGSEGV' });
export const fullQueueError = (): Error =>
  engineRefusals.error('engine-queue-full', { field: 'queue', expected: 'room', found: 'none' });

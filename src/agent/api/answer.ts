/** One answer: the request is judged, the engine writes, the guard sets free. The only way from the engine to a caller. */

import type { Guard } from '../../guard/guard.ts';
import type { Engine, Usage } from '../engine/engine.ts';
import type { LeaseClockState } from '../lease-clock-reader.ts';
import type { ChatRequest } from './chat-request.ts';
import { answerRefusals } from './refusals.ts';

/** Whether the model may run at this moment (W7). */
export interface LeaseState {
  /** Asked before each piece of an answer. */
  readonly isHeld: boolean;
  /** Aborts when the lease is over, to end what runs. */
  readonly over: AbortSignal;
  /** What is known of the lease, for whoever asks. */
  readonly state: LeaseReport;
  /** Asked before an answer begins: reads the clocks of the lease where they were not read lately (LC-5). */
  confirm(): Promise<void>;
}

/** The lease as `GET /lease` shows it. */
export interface LeaseReport {
  readonly held: boolean;
  readonly remainingSeconds: number;
  readonly clock: LeaseClockState;
}

export type FinishReason = 'stop' | 'length' | 'content_filter';

export type AnswerEvent =
  | { readonly kind: 'text'; readonly text: string }
  /** Counts are missing when the policy ended the answer: the engine was stopped before it gave them. */
  | { readonly kind: 'end'; readonly finishReason: FinishReason; readonly usage: Usage | undefined };

export interface AnswerParts {
  readonly engine: Engine;
  readonly guard: Guard;
  readonly lease: LeaseState;
}

/**
 * Answers a request. The last event is `end`.
 *
 * @param signal ends the answer when the caller is gone or its time is up
 * @throws RefusalError `api-input-blocked`, `api-lease-over`, `engine-*`
 */
export async function* answer(
  { engine, guard, lease }: AnswerParts,
  { messages, generation }: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<AnswerEvent, void, void> {
  await lease.confirm();
  requireLease(lease);
  if ((await guard.judgeInput(messages)).outcome === 'block') throw inputBlocked();
  const judged = guard.outputStream(messages);
  try {
    for await (const event of engine.generate(generation, AbortSignal.any([signal, lease.over]))) {
      const step = event.kind === 'text' ? await judged.push(event.text) : await judged.finish();
      requireLease(lease);
      if (step.text !== '') yield { kind: 'text', text: step.text };
      if (step.stop !== undefined) {
        yield { kind: 'end', finishReason: 'content_filter', usage: undefined };
        return;
      }
      if (event.kind === 'end') yield { kind: 'end', finishReason: event.reason, usage: event.usage };
    }
  } catch (error) {
    // What the engine says when the lease's end cancels it is less than the reason.
    requireLease(lease);
    throw error;
  }
}

function requireLease(lease: LeaseState): void {
  if (lease.isHeld && !lease.over.aborted) return;
  throw answerRefusals.error('api-lease-over', {
    field: 'lease',
    expected: 'a lease that is held',
    found: 'none',
  });
}

function inputBlocked(): Error {
  return answerRefusals.error('api-input-blocked', {
    field: 'messages',
    expected: 'a request that the policy allows',
    found: 'one that it blocks',
  });
}

/** What the agent knows of an engine: messages and bounds go in, text and counts come out, and nothing else. */

import { defineRefusals } from '../../../attestation/core/refusal.ts';
import type { Confinement } from '../../../native/process/confinement.ts';

export const engineRefusals = defineRefusals('unavailable', {
  'engine-queue-full': {
    means: 'As many requests wait as the agent lets wait.',
    hint: 'Try again in a moment, or start the agent with a longer queue or more slots.',
  },
  'engine-ended': {
    means: 'The engine process ended while it was needed.',
    hint: 'Look in the log for its exit status; then start the agent again.',
  },
  'engine-broke-framing': {
    means: 'The engine process sent something that is no message of its protocol, and was ended.',
    hint: 'Start the agent again; if it happens again, do not trust this model file.',
  },
  'engine-generation-failed': {
    means: 'The engine could not complete an answer.',
    hint: 'Try again; if it stays so, the model file does not fit this engine.',
  },
  'engine-cancelled': {
    means: 'A request was cancelled before its answer was complete.',
    hint: 'Nothing: whoever asked is gone, or the lease or the policy ended the answer.',
  },
});

export const engineStartRefusals = defineRefusals('environment', {
  'engine-not-started': {
    means: 'The engine process did not come up with the model.',
    hint: 'Check that the model is a GGUF of an architecture that llama.cpp knows, and that its context fits in memory.',
  },
});

export const promptRefusals = defineRefusals('usage', {
  'engine-prompt-too-long': {
    means: "A prompt leaves no room for an answer in the model's context.",
    hint: 'Send fewer or shorter messages.',
  },
});

export interface EngineMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export interface GenerationRequest {
  readonly messages: readonly EngineMessage[];
  /** The answer ends after so many tokens, or where the context is full. */
  readonly completionTokens: number;
  /** 0 chooses the likeliest token always. */
  readonly temperature: number;
  /** Only the likeliest tokens with this sum of probabilities are drawn from; 1 for all. */
  readonly topProbability: number;
  readonly seed?: number;
  /** The answer ends before the first of these. */
  readonly stop: readonly string[];
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export type GenerationEvent =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'end'; readonly reason: 'stop' | 'length'; readonly usage: Usage };

/** What the engine says of itself once it is up. */
export interface EngineDescription {
  readonly processId: number;
  /** The context of each request, in tokens. */
  readonly contextTokens: number;
  /** Whether the chat template comes from the model file; otherwise a general one is used. */
  readonly ownChatTemplate: boolean;
  /** What the engine read back from the kernel once it was sealed. */
  readonly confinement: Confinement;
}

export interface Engine {
  readonly description: EngineDescription;
  /** Settles once, when the engine is gone for whatever reason. */
  readonly ended: Promise<void>;
  /**
   * Answers messages. The last event is `end`.
   *
   * @param signal ends the answer early; iterating then throws `engine-cancelled`
   * @throws RefusalError `engine-*` (at iteration)
   */
  generate(request: GenerationRequest, signal: AbortSignal): AsyncIterable<GenerationEvent>;
  /** Kills the engine and waits until it is gone. */
  close(): Promise<void>;
}

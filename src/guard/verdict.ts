/** What the guard says about a text. Verdicts are data: receipts and counters of later releases are made of them. */

import type { Tier } from './policy.ts';

/** One message of a conversation, as far as it is judged: all of it is in the caller's hand, whatever its role. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** One thing that a check found. It names no text, so it may be counted and logged. */
export interface Finding {
  readonly check: string;
  readonly rule: string;
  readonly category: string;
  readonly tier: Tier;
}

/** Why a text was blocked: by what was found in it, or because it could not be judged (W6). */
export type BlockCause = 'policy' | 'guard-failed' | 'guard-timeout';

export type Verdict =
  | { readonly outcome: 'allow'; readonly findings: readonly Finding[] }
  | { readonly outcome: 'block'; readonly cause: BlockCause; readonly findings: readonly Finding[] };

/**
 * One way of judging text: the rules in one view, a classifier, a guard model. What it answers for a text must not
 * depend on the pieces in which the text arrives.
 */
export interface SafetyCheck {
  readonly name: string;
  /** Begins to judge what a caller sent. */
  openInput(): Judgement;
  /** Begins to judge what a model writes in answer to a prompt. */
  openOutput(prompt: string): Judgement;
}

export interface Judgement {
  /** Judges text that follows on the text before, together with it. */
  push(text: string): readonly Finding[] | Promise<readonly Finding[]>;
  /** Judges the end of the text. */
  finish(): readonly Finding[] | Promise<readonly Finding[]>;
  /** How far the text was judged, in characters as this check counts them. The hold-back is measured in these. */
  readonly position: number;
}

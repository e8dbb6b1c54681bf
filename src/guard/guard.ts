/**
 * The guard: every request is judged before the model sees it, and every piece of an answer before the caller does.
 * What cannot be judged, because a check throws or takes too long, is blocked (W6).
 */

import type { Clock } from '../platform/clock.ts';
import { views } from './fold.ts';
import { OutputStream } from './output-stream.ts';
import type { InferencePolicy } from './policy.ts';
import { createRuleCheck } from './rules.ts';
import { judgeAll } from './judging.ts';
import type { ChatMessage, SafetyCheck, Verdict } from './verdict.ts';

export class Guard {
  readonly policy: InferencePolicy;
  private readonly checks: readonly SafetyCheck[];
  private readonly clock: Clock;

  /** @param checks what judges; those of the policy's rules when left out */
  constructor(policy: InferencePolicy, clock: Clock, checks: readonly SafetyCheck[] = ruleChecks(policy)) {
    this.policy = policy;
    this.clock = clock;
    this.checks = checks;
  }

  /** Judges all messages together: a demand may be spread over several, and the caller writes all of them. */
  async judgeInput(messages: readonly ChatMessage[]): Promise<Verdict> {
    const text = conversationText(messages);
    return judgeAll(this.checks, this.limits, async (check) => {
      const judgement = check.openInput();
      return [...(await judgement.push(text)), ...(await judgement.finish())];
    });
  }

  /** Begins to judge an answer to these messages. */
  outputStream(messages: readonly ChatMessage[]): OutputStream {
    const { holdBackCharacters, stepCharacters } = this.policy.document.streaming;
    return new OutputStream(this.checks, conversationText(messages), {
      ...this.limits,
      holdBackCharacters,
      stepCharacters,
    });
  }

  private get limits(): { readonly clock: Clock; readonly milliseconds: number } {
    return { clock: this.clock, milliseconds: this.policy.document.limits.judgementMilliseconds };
  }
}

function ruleChecks(policy: InferencePolicy): readonly SafetyCheck[] {
  return views.map((view) => createRuleCheck(policy.document, view));
}

function conversationText(messages: readonly ChatMessage[]): string {
  return messages.map((message) => message.content).join('\n');
}

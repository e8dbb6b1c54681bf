/**
 * Judging an answer while it is written. Text is judged in steps of fixed length, counted from its beginning, and
 * leaves only when every check has judged a whole hold-back window beyond it. So neither the verdict nor the text that
 * left before it depends on the pieces in which the model wrote.
 */

import { judgeAll, type JudgingLimits } from './judging.ts';
import type { Finding, Judgement, SafetyCheck, Verdict } from './verdict.ts';

export interface StreamLimits extends JudgingLimits {
  readonly holdBackCharacters: number;
  readonly stepCharacters: number;
}

/** What one call set free: text that may be sent, and the verdict when the answer ends here. */
export interface OutputStep {
  readonly text: string;
  readonly stop?: Verdict & { readonly outcome: 'block' };
}

/** Text that is judged up to its end but still held back, and where each check stood before and after it. */
interface HeldText {
  readonly text: string;
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** A check with its judgement of this answer; opening it is already judging, and may fail like the rest. */
class OpenedCheck {
  private readonly check: SafetyCheck;
  private readonly prompt: string;
  private opened: Judgement | undefined;

  constructor(check: SafetyCheck, prompt: string) {
    this.check = check;
    this.prompt = prompt;
  }

  get judgement(): Judgement {
    this.opened ??= this.check.openOutput(this.prompt);
    return this.opened;
  }

  get position(): number {
    return this.opened?.position ?? 0;
  }
}

export class OutputStream {
  private readonly limits: StreamLimits;
  private readonly checks: readonly OpenedCheck[];
  private unjudged = '';
  private held: HeldText[] = [];
  private stopped: OutputStep['stop'];
  private readonly counted: Finding[] = [];

  constructor(checks: readonly SafetyCheck[], prompt: string, limits: StreamLimits) {
    this.limits = limits;
    this.checks = checks.map((check) => new OpenedCheck(check, prompt));
  }

  /** Everything that was found so far, whether it blocked or only counts. */
  get findings(): readonly Finding[] {
    return this.counted;
  }

  /** Takes what the model wrote next. After a stop it sets nothing free any more. */
  async push(text: string): Promise<OutputStep> {
    this.unjudged += text;
    let freed = '';
    for (let step = this.takeStep(); step !== ''; step = this.takeStep()) {
      freed += await this.judge(step);
      if (this.stopped !== undefined) break;
    }
    return this.answer(freed);
  }

  /** Ends the answer: judges the rest and sets free what was held back. */
  async finish(): Promise<OutputStep> {
    const rest = this.unjudged;
    this.unjudged = '';
    let freed = rest === '' ? '' : await this.judge(rest);
    if (this.stopped === undefined) await this.ask((judgement) => judgement.finish());
    if (this.stopped === undefined) freed += this.held.map((held) => held.text).join('');
    this.held = [];
    return this.answer(freed);
  }

  private answer(text: string): OutputStep {
    return this.stopped === undefined ? { text } : { text, stop: this.stopped };
  }

  /** The next whole step, never cut inside a surrogate pair; empty when there is none. */
  private takeStep(): string {
    const { stepCharacters } = this.limits;
    if (this.stopped !== undefined || this.unjudged.length < stepCharacters) return '';
    const last = this.unjudged.charCodeAt(stepCharacters - 1);
    const length = last >= 0xd800 && last <= 0xdbff ? stepCharacters - 1 : stepCharacters;
    const step = this.unjudged.slice(0, length);
    this.unjudged = this.unjudged.slice(length);
    return step;
  }

  /** Judges a step and gives what thereby has a whole window behind it. */
  private async judge(step: string): Promise<string> {
    const before = this.positions;
    await this.ask((judgement) => judgement.push(step));
    if (this.stopped !== undefined) return '';
    const now = this.positions;
    this.held.push({ text: step, before, after: now });
    const unsettled = this.held.findIndex((held) => !this.isSettled(held, now));
    const settled = this.held.splice(0, unsettled === -1 ? this.held.length : unsettled);
    return settled.map((held) => held.text).join('');
  }

  /** Text in which a check sees nothing at all (no hidden characters, for example) cannot belong to what it finds. */
  private isSettled(held: HeldText, now: readonly number[]): boolean {
    return now.every((position, i) => {
      const after = held.after[i] ?? 0;
      return after === held.before[i] || position - after >= this.limits.holdBackCharacters;
    });
  }

  private get positions(): readonly number[] {
    return this.checks.map((check) => check.position);
  }

  private async ask(
    question: (judgement: Judgement) => readonly Finding[] | Promise<readonly Finding[]>,
  ): Promise<void> {
    const verdict = await judgeAll(this.checks, this.limits, (check) => question(check.judgement));
    this.counted.push(...verdict.findings);
    if (verdict.outcome === 'allow') return;
    this.stopped = verdict;
    this.held = [];
    this.unjudged = '';
  }
}

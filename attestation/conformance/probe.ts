/** Tries cases on a device class and keeps what did not come out as the contract says. */

import { fromBase64, toBase64 } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import type { DeviceInputs } from '../core/device-class.ts';
import type { RefusalFamilyName } from '../core/refusal.ts';
import type { DeviceFixture, Document, ExpectedCodeSubject } from './fixture.ts';
import { describeOutcome, observe } from './outcome.ts';
import type { Outcome } from './outcome.ts';

/** One case that came out otherwise. */
export interface Deviation {
  readonly subject: string;
  readonly expected: string;
  readonly found: string;
}

/** How a case must be refused. */
export interface Demand {
  readonly families: readonly RefusalFamilyName[];
  /** The check that the class must have made, where its fixture names the codes of it. */
  readonly check?: ExpectedCodeSubject;
}

export const REFUSED: Demand = { families: ['malformed', 'inauthentic', 'unacceptable'] };
export const MALFORMED: Demand = { families: ['malformed'] };
/** The bytes cannot be read, or what was signed is not what they say. */
export const NOT_GENUINE: Demand = { families: ['malformed', 'inauthentic'] };

export class Probe {
  readonly fixture: DeviceFixture;
  /** Codes of the rows before. */
  readonly codesBefore: ReadonlySet<string>;
  private readonly declared: ReadonlyMap<string, RefusalFamilyName>;
  private readonly deviations: Deviation[] = [];
  private readonly codes = new Set<string>();
  private tried = 0;

  /**
   * @param declared the closed set of refusal codes with the family of each (DC-14)
   * @param codesBefore codes that were seen before this probe
   */
  constructor(
    fixture: DeviceFixture,
    declared: ReadonlyMap<string, RefusalFamilyName>,
    codesBefore: ReadonlySet<string>,
  ) {
    this.fixture = fixture;
    this.declared = declared;
    this.codesBefore = codesBefore;
  }

  get cases(): number {
    return this.tried;
  }

  get deviating(): readonly Deviation[] {
    return this.deviations;
  }

  /** Codes of all refusals that were seen, sorted. */
  get seenCodes(): readonly string[] {
    return [...this.codes].sort();
  }

  /** Counts a case that was judged elsewhere. */
  demand(subject: string, holds: boolean, expected: string, found: string): void {
    this.tried += 1;
    if (!holds) this.deviations.push({ subject, expected, found });
  }

  /** What the class makes of evidence; whatever no class may do is a deviation at once. */
  async observe(subject: string, evidence: JsonValue, changes: Partial<DeviceInputs> = {}): Promise<Outcome> {
    const { deviceClass, inputs } = this.fixture;
    const outcome = await observe(deviceClass, evidence, { ...inputs, ...changes });
    if (outcome.kind === 'broken')
      this.deviations.push({ subject, expected: 'a verdict', found: outcome.what });
    if (outcome.kind === 'refused') for (const { code } of outcome.refusals) this.codes.add(code);
    return outcome;
  }

  isDeclared(code: string): boolean {
    return this.declared.has(code);
  }

  async accepts(
    subject: string,
    evidence: JsonValue,
    changes: Partial<DeviceInputs> = {},
  ): Promise<Extract<Outcome, { kind: 'accepted' }> | undefined> {
    const outcome = await this.observe(subject, evidence, changes);
    this.tried += 1;
    if (outcome.kind === 'accepted') return outcome;
    if (outcome.kind === 'refused') this.deviate(subject, 'accepted', outcome);
    return undefined;
  }

  async refuses(
    subject: string,
    evidence: JsonValue,
    changes: Partial<DeviceInputs> = {},
    { families, check }: Demand = REFUSED,
  ): Promise<void> {
    const outcome = await this.observe(subject, evidence, changes);
    this.tried += 1;
    if (outcome.kind === 'broken') return;
    const codes = check === undefined ? undefined : this.fixture.expectedCodes?.[check];
    const expected = codes === undefined ? families.join(' or ') : `a refusal with ${codes.join(' or ')}`;
    const holds =
      outcome.kind === 'refused' &&
      families.includes(outcome.family) &&
      (codes === undefined || outcome.refusals.some(({ code }) => codes.includes(code)));
    if (!holds) this.deviate(subject, expected, outcome);
  }

  /** The good evidence with the bytes of one member changed. */
  withBytes(member: string, change: (bytes: Uint8Array) => Uint8Array): Document {
    return { ...this.fixture.evidence, [member]: toBase64(change(this.bytesOf(member))) };
  }

  /** The bytes of a member of the good evidence. */
  bytesOf(member: string): Uint8Array {
    const text = this.fixture.evidence[member];
    return fromBase64(typeof text === 'string' ? text : '', member);
  }

  private deviate(subject: string, expected: string, outcome: Outcome): void {
    this.deviations.push({ subject, expected, found: describeOutcome(outcome) });
  }
}

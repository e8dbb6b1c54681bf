/** Rows about what a verdict depends on: DC-1, DC-2, DC-6, DC-7, DC-8, DC-11, DC-12, DC-14 and DC-16. */

import { toHex } from '../core/bytes.ts';
import { encodeCanonicalJson } from '../core/canonical-json.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { CertificateMemory } from '../core/certificate-memory.ts';
import type { DeviceInputs } from '../core/device-class.ts';
import { watchEffects } from './effects.ts';
import { describeOutcome, observe } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { NOT_GENUINE } from './probe.ts';
import type { Demand, Probe } from './probe.ts';
import { row } from './row.ts';
import type { BatteryRow } from './row.ts';

/** Fewer checks than these cannot cover whose key it is, what it signed and what state that is. */
const MINIMUM_CHECKS = 3;
/** A class that refuses all of this for the same few reasons does not say what is wrong. */
const MINIMUM_CODES = 6;

async function acceptGood(probe: Probe): Promise<void> {
  const { deviceClass, evidence } = probe.fixture;
  const named = /^[a-z0-9-]{1,11}$/.test(deviceClass.name);
  probe.demand('name', named, '1 to 11 lower-case letters, digits and hyphens', deviceClass.name);
  const accepted = await probe.accepts('the good evidence', evidence);
  if (accepted === undefined) return;
  const { claims, checks } = accepted;
  const identity = deviceClass.identify(deviceClass.parse(evidence, 'evidence'));
  probe.demand('identity', identity.length === 32, '32 bytes', `${identity.length} bytes`);
  probe.demand('claims.class', claims.class === deviceClass.name, deviceClass.name, claims.class);
  const isNamed = claims.identity === toHex(identity);
  probe.demand('claims.identity', isNamed, toHex(identity), claims.identity);
  probe.demand('claims', isLoggable(claims), 'JSON that can be logged', 'something else');
  const enough = checks.length >= MINIMUM_CHECKS;
  probe.demand('checks', enough, `at least ${MINIMUM_CHECKS} checks`, `${checks.length}`);
  for (const { id, outcome, field, expected, found, protects } of checks) {
    const isTold = outcome === 'passed' && [field, expected, found, protects].every((text) => text !== '');
    probe.demand(`check ${id}`, isTold, 'passed, with field, expected, found, protects', outcome);
  }
}

function isLoggable(claims: object): boolean {
  try {
    return encodeCanonicalJson(claims as JsonValue).length > 2;
  } catch {
    return false;
  }
}

async function simulateByAnchor(probe: Probe): Promise<void> {
  const { evidence, inputs } = probe.fixture;
  for (const simulated of [true, false]) {
    const anchors = inputs.anchors.map((anchor) => ({ ...anchor, simulated }));
    const subject = `anchors that are ${simulated ? '' : 'not '}simulated`;
    const accepted = await probe.accepts(subject, evidence, { anchors });
    if (accepted === undefined) continue;
    const claimed = accepted.claims.simulated;
    probe.demand(subject, claimed === simulated, `simulated ${simulated}`, `simulated ${String(claimed)}`);
  }
}

const ANCHOR: Demand = { families: ['inauthentic'], check: 'anchor' };

async function exchangeAnchors(probe: Probe): Promise<void> {
  const { evidence, inputs, foreignAnchors } = probe.fixture;
  const names = (anchors: readonly { readonly name: string }[]): string =>
    anchors.map(({ name }) => name).join(', ');
  const [own, foreign] = [names(inputs.anchors), names(foreignAnchors)];
  probe.demand('fixture.foreignAnchors', own === foreign, own, foreign);
  await probe.refuses('the same names with other keys', evidence, { anchors: foreignAnchors }, ANCHOR);
  await probe.refuses('no anchors', evidence, { anchors: [] }, ANCHOR);
}

const VALIDITY: Demand = { families: ['inauthentic', 'unacceptable'], check: 'validity' };

async function leaveValidity(probe: Probe): Promise<{ readonly notApplicable: string } | undefined> {
  const { evidence, expired } = probe.fixture;
  if ('notApplicable' in expired) return expired;
  await probe.refuses('before its validity', evidence, { time: expired.before }, VALIDITY);
  await probe.refuses('after its validity', evidence, { time: expired.after }, VALIDITY);
  return undefined;
}

const DEVICE_VALUE: Demand = { families: ['inauthentic'], check: 'device-value' };

async function exchangeDeviceValue(probe: Probe): Promise<void> {
  const { evidence, inputs } = probe.fixture;
  const value = inputs.expectedDeviceValue;
  const others: readonly (readonly [subject: string, value: Uint8Array])[] = [
    ['another last bit', value.map((byte, i) => (i === value.length - 1 ? byte ^ 1 : byte))],
    ['another first bit', value.map((byte, i) => (i === 0 ? byte ^ 0x80 : byte))],
    ['all zero', new Uint8Array(value.length)],
  ];
  for (const [subject, expectedDeviceValue] of others) {
    await probe.refuses(subject, evidence, { expectedDeviceValue }, DEVICE_VALUE);
  }
  const otherLengths: readonly (readonly [subject: string, value: Uint8Array])[] = [
    ['cut by a byte', value.subarray(0, value.length - 1)],
    ['a byte longer', Uint8Array.of(...value, 0)],
    ['empty', new Uint8Array(0)],
  ];
  for (const [subject, expectedDeviceValue] of otherLengths) {
    await probe.refuses(subject, evidence, { expectedDeviceValue }, NOT_GENUINE);
  }
}

const REFERENCE_VALUES: Demand = { families: ['unacceptable'], check: 'reference-values' };

async function takeReferenceValues(probe: Probe): Promise<void> {
  const { evidence } = probe.fixture;
  await probe.refuses('no reference values', evidence, { referenceValues: [] }, REFERENCE_VALUES);
}

async function watchVerification(probe: Probe): Promise<void> {
  const { deviceClass, evidence, inputs } = probe.fixture;
  const before = snapshot(inputs);
  const sent = frozen(structuredClone(evidence));
  const verdicts: Outcome[] = [];
  const { effects } = await watchEffects(async () => {
    for (let time = 0; time < 2; time += 1) {
      verdicts.push(await observe(deviceClass, sent, { ...inputs, anchors: frozen(inputs.anchors) }));
    }
  });
  const [first, second] = verdicts;
  const found = first === undefined ? 'nothing' : describeOutcome(first);
  probe.demand('the good evidence, frozen', first?.kind === 'accepted', 'accepted', found);
  probe.demand('effects', effects.length === 0, 'no clock, chance or network', effects.join(', '));
  const isSame = snapshot(first) === snapshot(second);
  probe.demand('the second time', isSame, 'the same verdict', 'another');
  probe.demand('inputs', snapshot(inputs) === before, 'as they were', 'changed');
}

async function remember(probe: Probe): Promise<void> {
  const { fixture } = probe;
  const { foreignAnchors: anchors, expired } = fixture;
  const times = 'notApplicable' in expired ? [] : [expired.before, expired.after];
  const variants: readonly Partial<DeviceInputs>[] = [
    {},
    { anchors },
    ...times.map((time) => ({ time })),
    { collateral: new Map() },
    {},
  ];
  const flipped = fixture.binaryMembers.flatMap((member) =>
    [0, 400].map((place) =>
      probe.withBytes(member, (bytes) => bytes.map((byte, at) => (at === place ? byte ^ 1 : byte))),
    ),
  );
  const memory = new CertificateMemory();
  for (const [i, evidence] of [fixture.evidence, ...flipped, fixture.evidence].entries()) {
    for (const [k, changes] of variants.entries()) {
      const subject = `evidence ${i} with inputs ${k}`;
      const remembering = await probe.observe(subject, evidence, { ...changes, memory });
      const forgetting = await probe.observe(subject, evidence, changes);
      const [expected, found] = [snapshot(forgetting), snapshot(remembering)];
      const isSame = expected === found;
      probe.demand(subject, isSame, describeOutcome(forgetting), describeOutcome(remembering));
    }
  }
}

function countCodes(probe: Probe): Promise<void> {
  const seen = [...probe.codesBefore].sort();
  const enough = seen.length >= MINIMUM_CODES;
  const expected = `at least ${MINIMUM_CODES} different codes`;
  probe.demand('all that was refused', enough, expected, `${seen.length}: ${seen.join(', ')}`);
  for (const code of seen) probe.demand(code, probe.isDeclared(code), 'a code of the closed set', code);
  return Promise.resolve();
}

/** Frozen to the bottom. Bytes cannot be frozen; that they did not change is compared afterwards. */
function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  for (const member of Object.values(value)) frozen(member);
  return Object.freeze(value);
}

/** Everything that a value says, as text. */
function snapshot(value: unknown): string {
  return JSON.stringify(value, (_name, member: unknown) => {
    if (member instanceof Uint8Array) return toHex(member);
    return member instanceof Map ? [...(member as ReadonlyMap<string, unknown>)] : member;
  });
}

/** DC-12 comes first: what a class wrote into its inputs before would not show as a change. */
export const verifierRows: readonly BatteryRow[] = [
  row(
    'DC-12',
    'depends on its arguments alone and leaves them as they were',
    'accepted twice',
    watchVerification,
  ),
  row('DC-1', 'accepts good evidence, with trusted claims that can be logged', 'accepted', acceptGood),
  row('DC-2', 'takes from the anchor alone whether the hardware is simulated', 'accepted', simulateByAnchor),
  row('DC-6', 'refuses anchors of the same name with other keys, and none', 'inauthentic', exchangeAnchors),
  {
    rule: 'DC-7',
    title: 'refuses what is not valid yet or not any more',
    expected: 'inauthentic or unacceptable',
    run: leaveValidity,
  },
  row('DC-8', 'refuses every device value but the expected one, whole', 'inauthentic', exchangeDeviceValue),
  row('DC-11', 'refuses without reference values', 'unacceptable', takeReferenceValues),
  row('DC-16', 'comes to the same verdict with a memory of certificates', 'the same verdict', remember),
];

/** Comes last: looks at everything that was refused before. */
export const closingRows: readonly BatteryRow[] = [
  row(
    'DC-14',
    'refuses with codes of the closed set, and says what is wrong by them',
    'known codes',
    countCodes,
  ),
];

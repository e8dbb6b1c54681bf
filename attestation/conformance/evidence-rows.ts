/** Rows about what evidence may look like: DC-3, DC-4, DC-5, DC-9, DC-10 and DC-13. */

import { toBase64 } from '../core/bytes.ts';
import type { Document } from './fixture.ts';
import { hostileBytes, hostileJson } from './hostile-values.ts';
import type { Outcome } from './outcome.ts';
import { MALFORMED, NOT_GENUINE } from './probe.ts';
import type { Probe } from './probe.ts';
import { row } from './row.ts';
import type { BatteryRow } from './row.ts';

/** Far beyond the evidence of any device, so that a class that reads it first shows in time and memory. */
const HUGE_BASE64_CHARACTERS = 4 * 1024 * 1024;
/** Altered places in one member; every byte of a longer member would take minutes and show nothing more. */
const ALTERED_PLACES = 250;

function without(document: Document, member: string): Document {
  return Object.fromEntries(Object.entries(document).filter(([name]) => name !== member));
}

async function cutEverywhere(probe: Probe): Promise<void> {
  for (const member of probe.fixture.binaryMembers) {
    const { length } = probe.bytesOf(member);
    for (let kept = 0; kept < length; kept += 1) {
      const cut = probe.withBytes(member, (bytes) => bytes.subarray(0, kept));
      await probe.refuses(`${member}: ${kept} of ${length} bytes`, cut, {}, NOT_GENUINE);
    }
  }
}

async function appendBytes(probe: Probe): Promise<void> {
  const { binaryMembers, zeroPaddedMembers } = probe.fixture;
  for (const member of binaryMembers) {
    const tails = zeroPaddedMembers.includes(member) ? [[0xff]] : [[0x00], [0xff], [0x00, 0x00, 0x00, 0x00]];
    for (const tail of tails) {
      const longer = probe.withBytes(member, (bytes) => Uint8Array.of(...bytes, ...tail));
      await probe.refuses(`${member}: and ${tail.length} bytes ${tail[0] ?? 0}`, longer, {}, NOT_GENUINE);
    }
  }
}

async function setReserved(probe: Probe): Promise<void> {
  const { reserved } = probe.fixture;
  probe.demand('fixture.reserved', reserved.length > 0, 'at least one reserved place', 'none');
  for (const { name, evidence } of reserved) await probe.refuses(name, evidence);
}

async function alterBytes(probe: Probe): Promise<void> {
  const good = await probe.accepts('the good evidence', probe.fixture.evidence);
  for (const member of probe.fixture.binaryMembers) {
    const { length } = probe.bytesOf(member);
    const stride = Math.max(1, Math.floor(length / ALTERED_PLACES));
    for (let at = 0; at < length; at += stride) {
      const changed = probe.withBytes(member, (bytes) =>
        bytes.map((byte, i) => (i === at ? byte ^ (1 << (at % 8)) : byte)),
      );
      const subject = `${member}: byte ${at}`;
      const outcome = await probe.observe(subject, changed);
      probe.demand(
        subject,
        claimsNothingElse(outcome, good),
        'a refusal, or the same claims',
        'other claims',
      );
    }
  }
}

function claimsNothingElse(outcome: Outcome, good: Outcome | undefined): boolean {
  if (outcome.kind !== 'accepted') return true;
  return good?.kind === 'accepted' && JSON.stringify(outcome.claims) === JSON.stringify(good.claims);
}

async function leaveOut(probe: Probe): Promise<void> {
  const { evidence, binaryMembers } = probe.fixture;
  for (const empty of [null, true, 0, '', [], {}]) {
    await probe.refuses(`evidence: ${JSON.stringify(empty)}`, empty, {}, MALFORMED);
  }
  for (const member of Object.keys(evidence)) {
    await probe.refuses(`no ${member}`, without(evidence, member), {}, MALFORMED);
    // A member that is null in good evidence is one that nobody asked for.
    if (evidence[member] === null) continue;
    await probe.refuses(`${member}: null`, { ...evidence, [member]: null }, {}, MALFORMED);
    if (!binaryMembers.includes(member)) continue;
    await probe.refuses(`${member}: empty`, { ...evidence, [member]: '' }, {}, NOT_GENUINE);
  }
}

async function alterDocuments(probe: Probe): Promise<void> {
  const { evidence, inputs } = probe.fixture;
  await probe.refuses('evidence: an unknown member', { ...evidence, unknown: 'member' }, {}, MALFORMED);
  const policy = inputs.policy as Document;
  await probe.refuses(
    'policy: an unknown member',
    evidence,
    { policy: { ...policy, unknown: true } },
    MALFORMED,
  );
  for (const member of Object.keys(policy)) {
    await probe.refuses(`policy: no ${member}`, evidence, { policy: without(policy, member) }, MALFORMED);
  }
  for (const [i, reference] of (inputs.referenceValues as readonly Document[]).entries()) {
    const referenceValues = inputs.referenceValues.with(i, { ...reference, unknown: true });
    const subject = `referenceValues[${i}]: an unknown member`;
    await probe.refuses(subject, evidence, { referenceValues }, MALFORMED);
  }
}

async function sendAnyJson(probe: Probe): Promise<void> {
  const { evidence } = probe.fixture;
  for (const [i, value] of hostileJson(300, 1).entries()) {
    await probe.refuses(`evidence: hostile value ${i}`, value, {}, MALFORMED);
  }
  for (const member of Object.keys(evidence)) {
    for (const [i, value] of hostileJson(40, 2).entries()) {
      if (JSON.stringify(value) === JSON.stringify(evidence[member])) continue;
      await probe.refuses(`${member}: hostile value ${i}`, { ...evidence, [member]: value });
    }
  }
  for (const [i, value] of hostileJson(100, 3).entries()) {
    await probe.refuses(`policy: hostile value ${i}`, evidence, { policy: value }, MALFORMED);
    await probe.refuses(`referenceValues: hostile value ${i}`, evidence, { referenceValues: [value] });
  }
}

async function sendAnyBytes(probe: Probe): Promise<void> {
  const { evidence, binaryMembers } = probe.fixture;
  for (const member of binaryMembers) {
    for (const [i, bytes] of hostileBytes(80, 300, 4).entries()) {
      const changed = { ...evidence, [member]: toBase64(bytes) };
      await probe.refuses(`${member}: hostile bytes ${i}`, changed, {}, NOT_GENUINE);
    }
    const huge = { ...evidence, [member]: 'A'.repeat(HUGE_BASE64_CHARACTERS) };
    await probe.refuses(`${member}: ${HUGE_BASE64_CHARACTERS} characters`, huge, {}, MALFORMED);
  }
}

export const evidenceRows: readonly BatteryRow[] = [
  row('DC-3', 'refuses bytes that were cut, at every length', 'malformed or inauthentic', cutEverywhere),
  row('DC-3', 'refuses trailing bytes', 'malformed or inauthentic', appendBytes),
  row('DC-4', 'refuses reserved bits, even when the device signed them', 'a refusal', setReserved),
  row('DC-5', 'refuses an altered byte, or claims nothing else because of it', 'a refusal', alterBytes),
  row('DC-9', 'refuses empty evidence and every missing or empty member', 'malformed', leaveOut),
  row(
    'DC-10',
    'refuses unknown and missing members, in evidence and in the verifier’s documents',
    'malformed',
    alterDocuments,
  ),
  row('DC-13', 'answers any JSON with a refusal, and never throws', 'a refusal', sendAnyJson),
  row(
    'DC-13',
    'answers any bytes in any member with a refusal, and huge ones by their length',
    'malformed or inauthentic',
    sendAnyBytes,
  ),
];

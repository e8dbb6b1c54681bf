/** Rows about a device among others and what it is called there: DC-17 and DC-18. */

import type { DeviceInputs } from '../core/device-class.ts';
import { TRUST_CLAIMS } from '../core/ear/trust-vector.ts';
import { describeOutcome } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import type { Demand, Probe } from './probe.ts';
import { row } from './row.ts';
import type { BatteryRow } from './row.ts';

const COMPANIONS: Demand = { families: ['inauthentic'], check: 'companions' };

/** Values of AR4SI that say something; 0 says nothing. */
const MAX_TRUST_VALUE = 127;

async function exchangeCompanions(probe: Probe): Promise<void> {
  const { deviceClass, evidence, inputs } = probe.fixture;
  const digest = inputs.companionsDigest;
  const others: readonly (readonly [subject: string, value: Uint8Array])[] = [
    ['another last bit', digest.map((byte, i) => (i === digest.length - 1 ? byte ^ 1 : byte))],
    ['all zero', new Uint8Array(digest.length)],
  ];
  for (const [subject, companionsDigest] of others) {
    if (deviceClass.bindsCompanions) await probe.refuses(subject, evidence, { companionsDigest }, COMPANIONS);
    else await changesNothing(probe, subject, { companionsDigest });
  }
}

async function changesNothing(probe: Probe, subject: string, changes: Partial<DeviceInputs>): Promise<void> {
  const { evidence } = probe.fixture;
  const expected = await probe.observe(subject, evidence);
  const found = await probe.observe(subject, evidence, changes);
  const isSame = JSON.stringify(expected) === JSON.stringify(found);
  probe.demand(subject, isSame, describeOutcome(expected), describeOutcome(found));
}

async function nameWorth(probe: Probe): Promise<void> {
  const { deviceClass, evidence } = probe.fixture;
  const accepted: Outcome | undefined = await probe.accepts('the good evidence', evidence);
  if (accepted?.kind !== 'accepted') return;
  const model = deviceClass.modelOf(accepted.claims);
  probe.demand('model', /^[\x20-\x7e]{1,200}$/.test(model), 'a line of 1 to 200 printable characters', model);
  const values = Object.entries(deviceClass.trustVectorOf(accepted.claims));
  probe.demand('trust vector', values.length > 0, 'at least one claim', 'none');
  for (const [claim, value] of values) {
    const isKnown = TRUST_CLAIMS.some((known) => known === claim);
    const isValue = Number.isInteger(value) && value > 0 && value <= MAX_TRUST_VALUE;
    const expected = `a claim of AR4SI with a value from 1 to ${MAX_TRUST_VALUE}`;
    probe.demand(claim, isKnown && isValue, expected, `${claim} ${value}`);
  }
}

export const machineRows: readonly BatteryRow[] = [
  row('DC-17', 'refuses other companions, or has no place for them', 'inauthentic', exchangeCompanions),
  row('DC-18', 'names the model and the worth of an accepted device', 'accepted', nameWorth),
];

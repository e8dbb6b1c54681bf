/** A simulated hierarchy of AMD's, one for each line. */

import type { KeyObject } from 'node:crypto';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { ProductLine } from '../../attestation/sev-snp/product.ts';
import { SimulatedAmd } from '../../src/agent/simulated/sev-snp-authority.ts';
import { keptRsaKey } from './kept-keys.ts';

const made = new Map<ProductLine, SimulatedAmd>();

export function simulatedAmd(line: ProductLine): SimulatedAmd {
  const amd = made.get(line) ?? simulatedAmdAt(line, Math.floor(Date.now() / 1000));
  made.set(line, amd);
  return amd;
}

/** A hierarchy of another time; its keys are those of every other. @param posixSeconds when it was made */
export function simulatedAmdAt(line: ProductLine, posixSeconds: number): SimulatedAmd {
  const key = (role: string): KeyObject => keptRsaKey(`${role}-${line.toLowerCase()}`);
  return SimulatedAmd.ofKeys(line, posixSeconds, { ark: key('ark'), ask: key('ask'), asvk: key('asvk') });
}

/** Reference values for a simulated guest, which measures zeros unless it is told otherwise. */
export const GUEST_LAUNCH: JsonValue = {
  version: 1,
  class: 'sev-snp',
  kind: 'launch',
  name: 'good',
  measurement: '00'.repeat(48),
  provenance: {
    method: 'recorded',
    tool: 'a test',
    toolVersion: '1',
    artefacts: [],
    parameters: {},
    madeAt: 0,
  },
};

/** A simulated hierarchy of AMD's: RSA keys of 4096 bits take seconds, so all tests of a process share one for each line. */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { ProductLine } from '../../attestation/sev-snp/product.ts';
import { SimulatedAmd } from '../../src/agent/simulated/sev-snp-authority.ts';

const made = new Map<ProductLine, Promise<SimulatedAmd>>();

export function simulatedAmd(line: ProductLine): Promise<SimulatedAmd> {
  const amd = made.get(line) ?? SimulatedAmd.create(line, Math.floor(Date.now() / 1000));
  made.set(line, amd);
  return amd;
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

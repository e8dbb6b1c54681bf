/** A simulated hierarchy of AMD's: RSA keys of 4096 bits take seconds, so all tests of a process share one for each line. */

import type { ProductLine } from '../../attestation/sev-snp/product.ts';
import { SimulatedAmd } from '../../src/agent/simulated/sev-snp-authority.ts';

const made = new Map<ProductLine, Promise<SimulatedAmd>>();

export function simulatedAmd(line: ProductLine): Promise<SimulatedAmd> {
  const amd = made.get(line) ?? SimulatedAmd.create(line, Math.floor(Date.now() / 1000));
  made.set(line, amd);
  return amd;
}

/** Boot event logs with any content, written as software TPMs write theirs. */

import { tpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm } from '../../attestation/tpm/layout.ts';

export * from '../../src/agent/simulated/event-log-writer.ts';
export { separatorEvent as separator } from '../../src/agent/simulated/event-log-writer.ts';

export const sha256Bank = tpmHash(Algorithm.sha256, 'bank');

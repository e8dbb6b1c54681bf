/** The PCRs of this machine as they are now, unsigned: for recording a machine that is known to be good. */

import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { toPcrValues, toSelectionList } from '../../../native/tpm-commands/selection.ts';

/**
 * @param address TCTI text, for example `device:/dev/tpmrm0`
 * @returns values of the SHA-256 bank, hex, by PCR number
 * @throws RefusalError `tpm-*`
 */
export async function readCurrentPcrs(
  address: string,
  pcrs: readonly number[],
): Promise<Readonly<Record<string, string>>> {
  const tpm = await Tpm.open(address);
  try {
    const values = await tpm.readPcrs(toSelectionList({ sha256: pcrs }));
    return toPcrValues(values).sha256 ?? {};
  } finally {
    await tpm.close();
  }
}

/** What the browser runs: the judge of the TPM's vectors as it is. */

import { tpmVectors } from '../../support/vector-tpm.ts';
import { answerWith } from './carried-folder.ts';

await answerWith(tpmVectors);

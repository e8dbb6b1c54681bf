/** What the browser runs: the judge of NVIDIA's vectors as it is. */

import { nvidiaVectors } from '../../support/vector-nvidia.ts';
import { answerWith } from './carried-folder.ts';

await answerWith(nvidiaVectors);

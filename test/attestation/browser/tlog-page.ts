/** What the browser runs: the judge of the transparency log's vectors as it is. */

import { tlogVectors } from '../../support/vector-tlog.ts';
import { answerWith } from './carried-folder.ts';

await answerWith(tlogVectors);

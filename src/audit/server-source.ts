/** The log as its server publishes it. */

import { isRefusal } from '../../attestation/core/refusal.ts';
import type { LogSource } from '../log/reader.ts';
import type { HttpClient } from '../platform/http-client.ts';

/** The server's own answer for a file of the log that it does not have. */
const MISSING = 'log-file-missing';

/** Nothing that the server says is trusted; see `auditLog`. */
export function serverSource(client: HttpClient): LogSource {
  return async (path) => {
    try {
      return await client.getBytes(`/log/${path}`);
    } catch (error) {
      if (isRefusal(error) && error.refusal.code === MISSING) return undefined;
      throw error;
    }
  };
}

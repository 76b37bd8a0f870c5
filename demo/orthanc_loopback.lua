-- SPDX-FileCopyrightText: The GNU Health imaging suite contributors
-- SPDX-License-Identifier: GPL-3.0-or-later
-- Orthanc's DICOM server listens on every address and cannot be told not
-- to. What another machine asks for or sends over it is refused here.

local function is_local(origin)
   return origin['RemoteIp'] == '127.0.0.1'
end

function IncomingWorklistRequestFilter(query, origin)
   if not is_local(origin) then
      error('worklist query from another machine')
   end
   return query
end

function IncomingFindRequestFilter(query, origin)
   if not is_local(origin) then
      error('query from another machine')
   end
   return query
end

function ReceivedInstanceFilter(dicom, origin, info)
   return origin['RequestOrigin'] ~= 'DicomProtocol' or is_local(origin)
end

-- SPDX-FileCopyrightText: The GNU Health imaging suite contributors
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- Tell GNU Health that something changed.
--
-- Name this file in "LuaScripts" of Orthanc's configuration and add
--
--   "HttpTimeout": 5,
--   "GnuHealth": {
--     "Url": "https://gnuhealth.example.org/health/health_orthanc/changed",
--     "Key": "${GNUHEALTH_NOTIFICATION_KEY}"
--   }
--
-- The address and the key are those that "New Notification Key" of the server
-- in GNU Health shows. Nothing about a patient is sent.

local PAUSE = 60 -- seconds after a call that failed

local settings = GetOrthancConfiguration()['GnuHealth']
local headers = {
   ['Authorization'] = 'Bearer ' .. settings['Key'],
   ['Content-Type'] = 'application/json'
}
local next_call = 0

-- One call a second is enough: GNU Health waits for a second before it reads.
local function tell()
   local now = os.time()
   if now < next_call then
      return
   end
   next_call = now + 1
   -- an answer without content is an empty text, a failure is nil
   local ok, answer = pcall(HttpPost, settings['Url'], '{}', headers)
   if not ok or answer == nil then
      next_call = now + PAUSE
      print('GNU Health could not be told of a change')
   end
end

-- Functions of other scripts are called as before.
for _, name in ipairs({
   'OnStoredInstance', 'OnStableStudy', 'OnDeletedInstance',
   'OnDeletedSeries', 'OnDeletedStudy'
}) do
   local before = _G[name]
   _G[name] = function(...)
      if before ~= nil then
         before(...)
      end
      tell()
   end
end

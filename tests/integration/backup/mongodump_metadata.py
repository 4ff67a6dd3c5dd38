"""What mongodump wrote of the collection `notifications`: its metadata file, as it is."""

from __future__ import annotations

METADATA = (
    '{"options":{"changeStreamPreAndPostImages":{"enabled":true},"validator":{"$jsonSchema":{"bsonType":"object","req'
    'uired":["_id","title","message","type","userId","createdAt"],"properties":{"_id":{"bsonType":"objectId"},"title"'
    ':{"bsonType":"string"},"message":{"bsonType":"string"},"type":{"enum":["email","push","in-app"]},"userId":{"bson'
    'Type":"string"},"category":{"bsonType":"string"},"data":{"bsonType":"object"},"seen":{"bsonType":"bool"},"seenAt'
    '":{"bsonType":["date","null"]},"read":{"bsonType":"bool"},"readAt":{"bsonType":["date","null"]},"archived":{"bso'
    'nType":"bool"},"archivedAt":{"bsonType":["date","null"]},"sentAt":{"bsonType":["date","null"]},"createdAt":{"bso'
    'nType":"date"},"updatedAt":{"bsonType":["date","null"]},"rev":{"bsonType":["int","long"]},"delivery":{"bsonType"'
    ':"object","required":["state"],"properties":{"state":{"enum":["pending","sending","sent","failed","cancelled","s'
    'uppressed"]},"attempts":{"bsonType":["int","long"]},"scheduledAt":{"bsonType":["date","null"]},"nextAttemptAt":{'
    '"bsonType":["date","null"]},"lastAttemptAt":{"bsonType":["date","null"]}}}}}},"validationLevel":"moderate","vali'
    'dationAction":"error"},"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},{"v":{'
    '"$numberInt":"2"},"key":{"userId":{"$numberInt":"1"},"createdAt":{"$numberInt":"-1"}},"name":"userId_1_createdAt'
    '_-1"},{"v":{"$numberInt":"2"},"key":{"read":{"$numberInt":"1"}},"name":"read_1"},{"v":{"$numberInt":"2"},"key":{'
    '"createdAt":{"$numberInt":"1"}},"name":"createdAt_1","expireAfterSeconds":{"$numberInt":"2592000"}},{"v":{"$numb'
    'erInt":"2"},"key":{"userId":{"$numberInt":"1"},"createdAt":{"$numberInt":"-1"},"_id":{"$numberInt":"-1"},"archiv'
    'ed":{"$numberInt":"1"},"read":{"$numberInt":"1"},"seen":{"$numberInt":"1"},"type":{"$numberInt":"1"},"category":'
    '{"$numberInt":"1"}},"name":"feed"}],"uuid":"2f47117fc63f4370b56551230eb2ccf1","collectionName":"notifications","'
    'type":"collection"}'
)
